// Work of a call as blocks x panels. Units are numbered block-major: unit = block * panels + panel,
// so a thread's contiguous share is a band of blocks over all panels and weights are read once.
#pragma once

#include <algorithm>
#include <cstdint>

namespace colonnade::exec {

// Part `index` of `count` things dealt to `parts`.
inline int64_t part_begin(int64_t count, int64_t parts, int64_t index) {
  return count * index / parts;
}

// Calls fn(block, panel_begin, panel_end) for the units [begin, end).
template <typename Fn>
void for_each_band(int64_t begin, int64_t end, int64_t panels, const Fn& fn) {
  while (begin < end) {
    const int64_t block = begin / panels;
    const int64_t panel = begin % panels;
    const int64_t count = std::min(end - begin, panels - panel);
    fn(block, panel, panel + count);
    begin += count;
  }
}

}  // namespace colonnade::exec

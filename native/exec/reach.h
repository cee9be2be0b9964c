// Which panels of an operand a call reads for a range of its output panels.
//
// The same functions are in src/colonnade/planner/reach.py; a test compares them.
#pragma once

#include <cstdint>

namespace colonnade::exec {

// Rows of an image that a window over it reads. Columns are l = (n * h + row) * w + column on both
// sides; only whole rows are told apart.
struct Reach {
  int64_t lanes = 0;  // 0: output panel p reads panel p alone, and the rest is unused.
  int64_t out_columns = 0;
  int64_t in_h = 0;
  int64_t in_w = 0;
  int64_t out_h = 0;
  int64_t out_w = 0;
  int64_t stride_h = 0;
  int64_t span_h = 0;  // (kernel_h - 1) * dilation_h + 1
  int64_t pad_top = 0;
};

// The first panel that output panels from `panel` on read. Both functions never fall as their
// argument grows, and never give an empty range: a window outside the image counts for one row.
int64_t first_read(const Reach& reach, int64_t panel);
// One past the last panel that output panels before `end` read.
int64_t end_read(const Reach& reach, int64_t end);

enum class Access : int32_t {
  whole,  // The operand is not addressed by panels, or by panels of any number.
  same,   // Output panel p touches panel p alone.
  reach,  // As Prepared::reach says.
};

// How a call uses one operand, panel by panel.
struct PanelUse {
  Access access = Access::whole;
  bool is_written = false;
  int64_t panel_bytes = 0;  // 0: not in panels, as rows that columns_to_rows writes.
};

inline PanelUse read_same(int64_t panel_floats) { return {Access::same, false, 4 * panel_floats}; }
inline PanelUse read_reach(int64_t panel_floats) {
  return {Access::reach, false, 4 * panel_floats};
}
inline PanelUse write_same(int64_t panel_floats) { return {Access::same, true, 4 * panel_floats}; }

}  // namespace colonnade::exec

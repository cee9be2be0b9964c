// Gather by one index table per axis: out[i, j, ..] = in[table0[i], table1[j], ..], or a fill value
// where any table says kFill.
//
// One kernel serves pad (constant, edge, reflect, wrap), crop, nearest resize and stepped slices.
// Items are moved by size. `out` must not overlap `in`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/index_space.h"

namespace colonnade::kernels {

inline constexpr int64_t kFill = -1;

// `count` output positions that read first, first + step, ...; or the fill value (first == kFill).
struct TableRun {
  int64_t first;
  int64_t step;
  int64_t count;
};

struct GridGatherParams {
  int rank = 1;
  std::array<int64_t, kMaxRank> in_strides{};
  std::array<int64_t, kMaxRank> out_dims{};
  // Of every axis but the last: offset in `in` of each position (index * stride), or kFill.
  std::array<std::vector<int64_t>, kMaxRank> offsets;
  std::vector<TableRun> last;  // Of the last axis.
  // Where above 1, the last axis reads every element this many times (an integer resize).
  int64_t last_repeat = 1;
  // The same as `last`, position by position; used where it is not empty (short runs).
  std::vector<int64_t> last_table;
  int64_t item_bytes = 4;
  int64_t rows = 1;  // Rows of the output along the last axis; the units of the work.
};

// Makes the rows [begin, end). `fill` points at one item; null means zero bytes.
void grid_gather(const GridGatherParams& params, const std::byte* in, const std::byte* fill,
                 std::byte* out, int64_t begin, int64_t end);

}  // namespace colonnade::kernels

// Strided copies: out[i] = in[start + sum(index_d(i) * stride_d)], out contiguous and row-major.
//
// One kernel serves transpose, slice, expand, tile, depth-to-space and flips. Items are moved by
// size (1, 2, 4 or 8 bytes), never interpreted. `out` must not overlap `in`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/index_space.h"

namespace colonnade::kernels {

enum class CopyForm : int32_t {
  runs,   // Along the last axis of `space`, whatever its stride.
  tiles,  // Some other axis has stride 1: 2-D tiles of that axis and the last one.
};

struct CopyParams {
  IndexSpace<1> space;
  int64_t elements = 0;
  int64_t item_bytes = 4;
  CopyForm form = CopyForm::runs;
  int64_t units = 1;
  // Form tiles: the axis with stride 1, its stride in `out`, and the space of the other axes.
  int64_t tile_rows = 0;
  int64_t tile_row_stride = 0;
  int64_t tile_cols = 0;
  int64_t tile_col_stride = 0;
  IndexSpace<2> outer;
};

// Chooses the form and the number of units from space, elements and item_bytes.
void plan_copy(CopyParams& params);

// Copies the units [begin, end).
void copy_strided(const CopyParams& params, const std::byte* in, std::byte* out, int64_t begin,
                  int64_t end);

}  // namespace colonnade::kernels

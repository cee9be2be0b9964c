#include "kernels/shape/copy.h"

#include <algorithm>
#include <cstring>

namespace colonnade::kernels {
namespace {

constexpr int64_t kChunk = 4096;   // Elements of a unit of form runs.
constexpr int64_t kTileRows = 16;  // Rows of a unit of form tiles: one cache line of 4-byte items.
constexpr int64_t kMinTileCols = 4;  // Below this a tile is slower than runs.

// Row-major stride of each axis of the output.
std::array<int64_t, kMaxRank> out_strides(const IndexSpace<1>& space) {
  std::array<int64_t, kMaxRank> strides{};
  int64_t stride = 1;
  for (size_t d = static_cast<size_t>(space.rank); d-- > 0;) {
    strides[d] = stride;
    stride *= space.dims[d];
  }
  return strides;
}

// The longest axis before the last that has stride 1 in the input; -1 when there is none.
int find_tile_axis(const IndexSpace<1>& space) {
  int best = -1;
  for (int d = 0; d + 1 < space.rank; ++d) {
    const auto axis = static_cast<size_t>(d);
    if (space.strides[0][axis] != 1 || space.dims[axis] < kMinTileCols) continue;
    if (best < 0 || space.dims[axis] > space.dims[static_cast<size_t>(best)]) best = d;
  }
  return best;
}

void plan_tiles(CopyParams& p, size_t axis) {
  const auto last = static_cast<size_t>(p.space.rank - 1);
  const auto strides = out_strides(p.space);
  p.form = CopyForm::tiles;
  p.tile_rows = p.space.dims[axis];
  p.tile_row_stride = strides[axis];
  p.tile_cols = p.space.dims[last];
  p.tile_col_stride = p.space.strides[0][last];
  p.outer.rank = 0;
  p.outer.start = {p.space.start[0], 0};
  int64_t count = 1;
  for (size_t d = 0; d < last; ++d) {
    if (d == axis) continue;
    const auto at = static_cast<size_t>(p.outer.rank++);
    p.outer.dims[at] = p.space.dims[d];
    p.outer.strides[0][at] = p.space.strides[0][d];
    p.outer.strides[1][at] = strides[d];
    count *= p.space.dims[d];
  }
  // The innermost axis of `outer` walks the blocks of tile rows.
  const auto at = static_cast<size_t>(p.outer.rank++);
  const int64_t blocks = (p.tile_rows + kTileRows - 1) / kTileRows;
  p.outer.dims[at] = blocks;
  p.outer.strides[0][at] = kTileRows;
  p.outer.strides[1][at] = kTileRows * p.tile_row_stride;
  p.units = count * blocks;
}

typedef uint32_t Quad __attribute__((vector_size(16)));

Quad load_quad(const uint32_t* from) {
  Quad quad;
  std::memcpy(&quad, from, sizeof(quad));
  return quad;
}

void transpose_4x4(const uint32_t* in, int64_t in_stride, uint32_t* out, int64_t out_stride) {
  const Quad a = load_quad(in);
  const Quad b = load_quad(in + in_stride);
  const Quad c = load_quad(in + 2 * in_stride);
  const Quad d = load_quad(in + 3 * in_stride);
  const Quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Quad cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Quad rows[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                        __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                        __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                        __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (int64_t i = 0; i < 4; ++i) std::memcpy(out + i * out_stride, &rows[i], sizeof(Quad));
}

// out[r * out_stride + c] = in[r + c * in_stride] for r < rows, c < cols.
template <typename T>
void transpose_block(const T* in, int64_t in_stride, T* out, int64_t out_stride, int64_t rows,
                     int64_t cols) {
  int64_t c = 0;
  if constexpr (sizeof(T) == 4) {
    for (; c + 4 <= cols; c += 4) {
      int64_t r = 0;
      for (; r + 4 <= rows; r += 4) {
        transpose_4x4(in + r + c * in_stride, in_stride, out + r * out_stride + c, out_stride);
      }
      for (; r < rows; ++r) {
        for (int64_t j = c; j < c + 4; ++j) out[r * out_stride + j] = in[r + j * in_stride];
      }
    }
  }
  for (; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) out[r * out_stride + c] = in[r + c * in_stride];
  }
}

template <typename T>
void copy_tiles(const CopyParams& p, const T* in, T* out, int64_t begin, int64_t end) {
  const int64_t blocks = p.outer.dims[static_cast<size_t>(p.outer.rank - 1)];
  for_each_run(p.outer, begin, end, [&](const auto& offsets, int64_t unit, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = ((unit + i) % blocks) * kTileRows;
      transpose_block(in + offsets[0] + i * kTileRows, p.tile_col_stride,
                      out + offsets[1] + i * kTileRows * p.tile_row_stride, p.tile_row_stride,
                      std::min(kTileRows, p.tile_rows - row), p.tile_cols);
    }
  });
}

template <typename T>
void copy_runs(const CopyParams& p, const T* in, T* out, int64_t begin, int64_t end) {
  const int64_t step = p.space.last_stride(0);
  for_each_run(p.space, begin, end, [&](const auto& offsets, int64_t position, int64_t count) {
    const T* from = in + offsets[0];
    T* to = out + position;
    if (step == 1) {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
    } else if (step == 0) {
      std::fill_n(to, count, *from);
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = from[i * step];
    }
  });
}

template <typename T>
void copy_items(const CopyParams& p, const std::byte* in, std::byte* out, int64_t begin,
                int64_t end) {
  const T* from = reinterpret_cast<const T*>(in);
  T* to = reinterpret_cast<T*>(out);
  if (p.form == CopyForm::tiles) {
    copy_tiles(p, from, to, begin, end);
  } else {
    copy_runs(p, from, to, begin * kChunk, std::min(end * kChunk, p.elements));
  }
}

}  // namespace

void plan_copy(CopyParams& params) {
  const int axis = find_tile_axis(params.space);
  if (params.elements > 0 && axis >= 0 && params.space.last_stride(0) != 1 &&
      params.space.last_stride(0) != 0) {
    plan_tiles(params, static_cast<size_t>(axis));
    return;
  }
  params.form = CopyForm::runs;
  params.units = (params.elements + kChunk - 1) / kChunk;
}

void copy_strided(const CopyParams& params, const std::byte* in, std::byte* out, int64_t begin,
                  int64_t end) {
  switch (params.item_bytes) {
    case 1:
      return copy_items<uint8_t>(params, in, out, begin, end);
    case 2:
      return copy_items<uint16_t>(params, in, out, begin, end);
    case 4:
      return copy_items<uint32_t>(params, in, out, begin, end);
    default:
      return copy_items<uint64_t>(params, in, out, begin, end);
  }
}

}  // namespace colonnade::kernels

#include <algorithm>

#include "kernels/matmul/matmul.h"

namespace colonnade::kernels {
namespace {

// Calls fn(i, j, position in the packed form) for every weight.
template <typename Fn>
void for_each_packed(int64_t m, int64_t k, int32_t tile_rows, const Fn& fn) {
  for (int64_t row = 0; row < m; row += tile_rows) {
    const int64_t rows = std::min<int64_t>(tile_rows, m - row);
    for (int64_t j = 0; j < k; ++j) {
      for (int64_t r = 0; r < rows; ++r) fn(row + r, j, row * k + j * rows + r);
    }
  }
}

}  // namespace

void pack_matmul_weights(const float* w, int64_t stride_m, int64_t stride_k, int64_t m, int64_t k,
                         int32_t tile_rows, float* packed) {
  for_each_packed(m, k, tile_rows, [&](int64_t i, int64_t j, int64_t position) {
    packed[position] = w[i * stride_m + j * stride_k];
  });
}

void unpack_matmul_weights(const float* packed, int64_t m, int64_t k, int32_t tile_rows, float* w,
                           int64_t stride_m, int64_t stride_k) {
  for_each_packed(m, k, tile_rows, [&](int64_t i, int64_t j, int64_t position) {
    w[i * stride_m + j * stride_k] = packed[position];
  });
}

int64_t rows_packed_floats(int64_t m, int64_t k, int32_t tile_lanes) {
  return (m + tile_lanes - 1) / tile_lanes * tile_lanes * k;
}

void pack_rows_weights(const float* w, int64_t stride_m, int64_t stride_k, int64_t m, int64_t k,
                       int32_t tile_lanes, float* packed) {
  for (int64_t tile = 0; tile < m; tile += tile_lanes) {
    for (int64_t j = 0; j < k; ++j) {
      for (int64_t i = tile; i < tile + tile_lanes; ++i) {
        *packed++ = i < m ? w[i * stride_m + j * stride_k] : 0.0f;
      }
    }
  }
}

void unpack_rows_weights(const float* packed, int64_t m, int64_t k, int32_t tile_lanes, float* w,
                         int64_t stride_m, int64_t stride_k) {
  for (int64_t i = 0; i < m; ++i) {
    const float* lane = packed + i / tile_lanes * tile_lanes * k + i % tile_lanes;
    for (int64_t j = 0; j < k; ++j) w[i * stride_m + j * stride_k] = lane[j * tile_lanes];
  }
}

}  // namespace colonnade::kernels

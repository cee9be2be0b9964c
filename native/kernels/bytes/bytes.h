// What is done to 8-bit tensors beside products, without float32 tensors in between: sums and
// products of two, tables, pooling. Panels hold bytes as qmatmul.h says, four features in a lane.
//
//   real(b)  = (b - zero) * scale                                  float32, rounded
//   bytes(v) = round(min(max(v * (1 / y_scale), -y_zero), 255 - y_zero)) + y_zero, ties to even;
//              NaN gives 0
//
// Operations are rounded one by one: the same bits on every instruction set. What lies behind the
// last feature is written as 0, but by pooling, which treats it as any feature.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "kernels/pool/pool.h"

namespace colonnade::kernels {

inline constexpr int64_t kByteGroup = 4;
constexpr int64_t byte_groups(int64_t features) { return (features + kByteGroup - 1) / kByteGroup; }

// Bytes with what they stand for.
struct ByteOperand {
  const uint8_t* bytes;
  const float* scale;
  const uint8_t* zero;
};

// y = bytes(clamp(real(a) + real(b), lo, hi)), or their product. Where `b_values` is
// there, b is these: one for each feature.
struct ByteBinaryParams {
  ByteOperand a;
  ByteOperand b;
  const float* y_scale;
  const uint8_t* y_zero;
  uint8_t* y;
  int64_t features;
  int64_t columns;  // Of a.
  const float* b_values;
  // Columns of a that one column of b meets; 0: b is shaped as a.
  int64_t inner;
  bool is_product;
  float lo;
  float hi;
};

// y = the greatest byte of the window, or bytes(sum of (x - zero) * (scale / positions)): the sum
// is exact, `positions` as in pool.h. Padding never wins and adds nothing. window.channels counts
// groups; x and y are byte panels.
struct BytePoolParams {
  PoolParams window;
  ByteOperand x;  // Scale and zero of averages; `bytes` is not used.
  const float* y_scale;
  const uint8_t* y_zero;
};
// Positions of a window that an average may have: 16 bits hold the sum.
inline constexpr int64_t kByteWindowMax = 257;

// y: byte panels of a column a sample, the mean of its `inner` columns.
struct ByteMeanParams {
  ByteOperand x;
  const float* y_scale;
  const uint8_t* y_zero;
  uint8_t* y;
  int64_t batch;
  int64_t features;
  int64_t inner;
};
// Columns of a sample: 32 bits hold the sum.
inline constexpr int64_t kByteMeanMax = int64_t{1} << 23;

struct BytesRow {
  const char* name;
  Isa isa;
  int32_t panel_lanes;
  void (*binary)(const ByteBinaryParams&, int64_t panel_begin, int64_t panel_end);
  // y[i] = table[x[i]]; y may be x.
  void (*lookup)(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t count);
  // Groups [begin, end) of batch * window.channels. `scratch`: byte_pool_scratch_floats.
  void (*pool)(const BytePoolParams&, int64_t begin, int64_t end, float* scratch);
  // Output panels [begin, end) of all channels; reads the rows of their windows only.
  void (*pool_panels)(const BytePoolParams&, int64_t begin, int64_t end, float* scratch);
  // Units [begin, end) of batch * byte_groups(features).
  void (*mean)(const ByteMeanParams&, int64_t begin, int64_t end);
};

std::span<const BytesRow> bytes_rows();
const BytesRow& choose_bytes(Isa isa);
int64_t byte_pool_scratch_floats(const PoolParams& params);

}  // namespace colonnade::kernels

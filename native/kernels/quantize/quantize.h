// Between float32 and integers of 8, 16 or 32 bits: QuantizeLinear and DequantizeLinear on runs.
//
//   quantize    out[i] = min(max(round(x[i] / s) + z, lowest), highest)   to 8 or 16 bits
//   dequantize  out[i] = float(x[i] - z) * s                              from 8, 16 or 32 bits
//
// s = scale[i * step], z = zero[i * step] (0 when zero is null), step 0 or 1. round is to nearest,
// ties to even; NaN gives the lowest number of the type, so does 0 / 0, and what is divided by 0
// saturates. x - z never overflows. The same inputs give the same bits on every instruction set.
// Runs are contiguous, need no alignment, and inputs do not overlap outputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "base/dtype.h"

namespace colonnade::kernels {

struct QuantizeRun {
  const std::byte* in;    // float32 to quantize; integers to dequantize.
  const float* scale;     // One value, or `count` of them.
  const std::byte* zero;  // As scale, of the integers' type; null for zeros.
  std::byte* out;
  int64_t count;
  int64_t step;
};

struct QuantizeRow {
  const char* name;
  Isa isa;
  // `type` is that of the integers; one that the row does not know does nothing.
  void (*quantize)(const QuantizeRun&, DType type);
  void (*dequantize)(const QuantizeRun&, DType type);
  // The least and the greatest of 0 and the elements, without NaN.
  void (*range)(const float* x, int64_t count, float& low, float& high);
};

constexpr bool can_quantize(DType type) {
  return type == DType::uint8 || type == DType::int8 || type == DType::uint16 ||
         type == DType::int16;
}
constexpr bool can_dequantize(DType type) { return can_quantize(type) || type == DType::int32; }

std::span<const QuantizeRow> quantize_rows();
const QuantizeRow& choose_quantize(Isa isa);

}  // namespace colonnade::kernels

// Element-wise kernels on typed runs: arithmetic, comparison, logic, bits.
//
// Integers wrap; division by zero gives 0. A run is `count` elements; a step of 0 repeats one
// element, 1 is contiguous, others stride (in elements). Outputs are contiguous and must not
// overlap an input except by being the same pointer with step 1 and the same item size.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace colonnade::kernels {

enum class BinaryOp : int32_t {
  add = 0,
  sub = 1,
  mul = 2,
  div = 3,
  mod = 4,   // Sign of the divisor.
  fmod = 5,  // Sign of the dividend.
  min = 6,   // NaN if either is NaN.
  max = 7,
  equal = 8,  // The comparisons give bool.
  less = 9,
  less_equal = 10,
  bit_and = 11,  // The bit operations take any integer type and bool.
  bit_or = 12,
  bit_xor = 13,
  shift_left = 14,   // By a negative amount, or the width or more: 0.
  shift_right = 15,  // Arithmetic; then 0, or -1 where a is negative.
  pow = 16,          // The exponent may have another type.
};

enum class UnaryOp : int32_t {
  negate = 0,
  abs = 1,
  sign = 2,
  logical_not = 3,  // bool
  bit_not = 4,
  is_nan = 5,  // Floats to bool, as are the next three.
  is_inf = 6,
  is_positive_inf = 7,
  is_negative_inf = 8,
};

using BinaryFn = void (*)(const std::byte* a, int64_t a_step, const std::byte* b, int64_t b_step,
                          std::byte* out, int64_t count);
using UnaryFn = void (*)(const std::byte* in, int64_t step, std::byte* out, int64_t count);

// out = min(max(in, *low), *high); a null bound does not bind. NaN stays NaN.
using ClipFn = void (*)(const std::byte* in, const std::byte* low, const std::byte* high,
                        std::byte* out, int64_t count);
ClipFn find_clip(DType type);

// Null when there is no such kernel. b_type differs from a_type for pow only.
BinaryFn find_binary(BinaryOp op, DType a_type, DType b_type);
UnaryFn find_unary(UnaryOp op, DType type);

constexpr bool gives_bool(BinaryOp op) {
  return op >= BinaryOp::equal && op <= BinaryOp::less_equal;
}
constexpr bool gives_bool(UnaryOp op) { return op >= UnaryOp::is_nan; }

}  // namespace colonnade::kernels

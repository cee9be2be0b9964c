// Reductions over any axes of a row-major tensor, for integers, bool and floats.
//
// Integers are summed in 64 bits and cut to their type; an integer mean truncates, as do the roots
// and logarithms of integers. fp32 sums use 16 lanes: |error| <= (n / 16 + 20) * 2^-24 * sum|x|.
// min and max give NaN if any element is NaN. Of nothing: sum 0, product 1, min and max the
// identity (infinity or the type's end), mean NaN (0 for integers), log_sum -infinity.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/index_space.h"

namespace colonnade::kernels {

enum class ReduceOp : int32_t {
  sum = 0,
  prod = 1,
  min = 2,
  max = 3,
  mean = 4,
  l1 = 5,
  l2 = 6,
  sum_square = 7,
  log_sum = 8,
  log_sum_exp = 9,
};

// Output (k, i) reduces the elements at kept(k) + reduced(r) + i over all r; out [outputs, inner].
struct ReduceAxesParams {
  IndexSpace<1> kept;
  int64_t outputs;
  IndexSpace<1> reduced;
  int64_t reduced_elements;
  int64_t inner;  // > 1 when the last axis is kept.
};

// Makes the outputs [begin, end).
using ReduceFn = void (*)(const ReduceAxesParams& params, const std::byte* in, std::byte* out,
                          int64_t begin, int64_t end);

// Null when there is no such kernel: float32, float64, (u)int32 and (u)int64 have all; int8, uint8
// and bool have min and max.
ReduceFn find_reduce(ReduceOp op, DType type);

}  // namespace colonnade::kernels

// Order along one axis of [outer, dim, inner]: largest index, top k; and running sums.
//
// All ten numeric types. NaN counts as larger than every number, as numpy sorts it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace colonnade::kernels {

struct AxisShape {
  int64_t outer;
  int64_t dim;
  int64_t inner;
};

// out [outer, inner] = index of the largest (or smallest) element; the first of equals, or the
// last.
struct ArgAxisParams {
  AxisShape shape;  // dim >= 1
  bool is_min;
  bool is_last;
};

// Makes outer [begin, end).
using ArgFn = void (*)(const ArgAxisParams& params, const std::byte* in, int64_t* out,
                       int64_t begin, int64_t end);

// The k largest (or smallest) elements in order; of equals the one with the lower index comes
// first.
struct TopKParams {
  AxisShape shape;
  int64_t k;  // 0 <= k <= dim
  bool is_largest;
};

// Makes the lines [begin, end) of outer * inner. scratch: dim * 16 bytes.
using TopKFn = void (*)(const TopKParams& params, const std::byte* in, std::byte* values,
                        int64_t* indices, std::byte* scratch, int64_t begin, int64_t end);

// Running sums or products along the axis.
struct ScanParams {
  AxisShape shape;
  bool is_exclusive;
  bool is_reverse;
  bool is_product;
};

// Makes outer [begin, end).
using ScanFn = void (*)(const ScanParams& params, const std::byte* in, std::byte* out,
                        int64_t begin, int64_t end);

// Null when the type is not numeric.
ArgFn find_arg(DType type);
TopKFn find_top_k(DType type);
ScanFn find_scan(DType type);

}  // namespace colonnade::kernels

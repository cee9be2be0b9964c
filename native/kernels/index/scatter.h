// Writing by index: scatter_elements and scatter_nd, with a reduction. `out` already holds the
// data.
//
// Updates are applied in order, so that the last of equal indices wins and sums have one order.
// Integer sums and products wrap. The caller runs these on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "base/index_space.h"
#include "kernels/index/fault.h"

namespace colonnade::kernels {

enum class Reduction : int32_t { none = 0, add = 1, mul = 2, min = 3, max = 4 };

// into[i] = reduce(into[i], from[i]) for `count` items.
using ReduceIntoFn = void (*)(const std::byte* from, std::byte* into, int64_t count);

// Null when the type has no such reduction (bool and float16 have none but `none`).
ReduceIntoFn find_reduce_into(Reduction reduction, DType type);

struct ScatterElementsParams {
  IndexSpace<1> space;  // Dims of the indices, strides of the data with 0 at the axis.
  int64_t elements;
  int64_t axis_dim;
  int64_t axis_stride;
  int64_t item_bytes;
  DType index_type;  // int32 or int64.
  ReduceIntoFn reduce;
};

IndexFault scatter_elements(const ScatterElementsParams& params, const std::byte* indices,
                            const std::byte* updates, std::byte* out);

struct ScatterNdParams {
  int64_t count;
  std::vector<int64_t> dims;  // The indexed axes of the data.
  int64_t row_items;
  int64_t item_bytes;
  ReduceIntoFn reduce;
};

IndexFault scatter_nd(const ScatterNdParams& params, const int64_t* indices,
                      const std::byte* updates, std::byte* out);

}  // namespace colonnade::kernels

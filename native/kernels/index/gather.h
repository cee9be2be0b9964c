// Reading by index: gather along an axis, gather_elements, gather_nd, one_hot, where.
//
// Items are moved by size, never interpreted. Indices are int32 or int64; a negative one counts
// from the end; one outside [-limit, limit) is a fault. Outputs must not overlap inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "base/index_space.h"
#include "kernels/index/fault.h"

namespace colonnade::kernels {

// out[o, j] = in[o, index[j]] for rows of row_bytes; in [outer, dim], out [outer, count].
struct GatherParams {
  int64_t outer;
  int64_t dim;
  int64_t count;
  int64_t row_bytes;
  DType index_type;
};

// Makes the output rows [begin, end) of outer * count.
IndexFault gather(const GatherParams& params, const std::byte* in, const std::byte* indices,
                  std::byte* out, int64_t begin, int64_t end);

// out[i] = in[offset(i) + index[i] * axis_stride]. `space` has the dims of the indices and the
// strides of the data with 0 at the axis.
struct GatherElementsParams {
  IndexSpace<1> space;
  int64_t axis_dim;
  int64_t axis_stride;
  int64_t item_bytes;
  DType index_type;
};

IndexFault gather_elements(const GatherElementsParams& params, const std::byte* in,
                           const std::byte* indices, std::byte* out, int64_t begin, int64_t end);

// out[b, n] = in[b, index[b, n, 0], .., index[b, n, k - 1]] for rows of row_bytes.
struct GatherNdParams {
  int64_t batch;
  int64_t count;              // n
  std::vector<int64_t> dims;  // k axes that are indexed; k >= 0.
  int64_t batch_rows;         // Product of dims.
  int64_t row_bytes;
};

// Row of the tuple of int64 indices at `tuple`; sets `fault` when one of them is out of range.
int64_t find_nd_row(const std::vector<int64_t>& dims, const int64_t* tuple, int64_t tuple_number,
                    IndexFault& fault);

// Makes the output rows [begin, end) of batch * count.
IndexFault gather_nd(const GatherNdParams& params, const std::byte* in, const int64_t* indices,
                     std::byte* out, int64_t begin, int64_t end);

// out [outer, depth, inner] is off everywhere but at index[outer, inner], where it is on. An index
// outside [-depth, depth) leaves its column off. values: off, then on, item_bytes each.
struct OneHotParams {
  int64_t outer;
  int64_t depth;
  int64_t inner;
  int64_t item_bytes;
  DType index_type;  // Any numeric type; floats are truncated.
};

void one_hot(const OneHotParams& params, const std::byte* indices, const std::byte* values,
             std::byte* out, int64_t begin, int64_t end);

// out = condition ? a : b; operands 0, 1, 2 of the space are condition (bytes), a and b.
void select(const IndexSpace<3>& space, int64_t item_bytes, const uint8_t* condition,
            const std::byte* a, const std::byte* b, std::byte* out, int64_t begin, int64_t end);

}  // namespace colonnade::kernels

// Reads an IndexSpace from the parameters of a call and checks that operands hold it.
//
// Written by planner/strides.py as: dims (tuple), then per operand start (int) and strides (tuple).
#pragma once

#include <cstdint>
#include <string>

#include "base/index_space.h"
#include "exec/op.h"
#include "exec/ops/check.h"

namespace colonnade::exec {

// Elements of `dims`, or -1 when a dimension is negative or the product too large.
inline int64_t num_elements(std::span<const int64_t> dims) {
  int64_t product = 1;
  for (const int64_t dim : dims) {
    product = checked_product({product, dim});
    if (product < 0) return -1;
  }
  return product;
}

// True when every offset the strides reach lies in [0, limit).
inline bool is_within(std::span<const int64_t> dims, std::span<const int64_t> strides,
                      int64_t start, int64_t limit) {
  int64_t low = start;
  int64_t high = start;
  for (size_t d = 0; d < dims.size(); ++d) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(dims[d] - 1, strides[d], &reach)) return false;
    int64_t& side = reach < 0 ? low : high;
    if (__builtin_add_overflow(side, reach, &side)) return false;
  }
  return low >= 0 && high < limit;
}

// Copies dims and strides. The stride of an axis of size 1 is never used: it becomes 0, whatever a
// plan says, so that walking over the axis cannot overflow.
template <size_t N>
void set_walk(std::span<const int64_t> dims, std::span<const int64_t> strides, size_t operand,
              std::array<std::array<int64_t, kMaxRank>, N>& walks) {
  for (size_t d = 0; d < dims.size(); ++d) walks[operand][d] = dims[d] > 1 ? strides[d] : 0;
}

// Fills `space` and `elements`. Operand i holds items of item_bytes[i] bytes.
template <int N>
std::string read_space(PrepareContext& context, const std::array<int64_t, N>& item_bytes,
                       IndexSpace<N>& space, int64_t& elements) {
  const auto dims = context.params.list();
  if (dims.empty() || dims.size() > kMaxRank) return "rank out of range";
  elements = num_elements(dims);
  if (elements < 0) return "dimensions out of range";
  space.rank = static_cast<int>(dims.size());
  std::copy(dims.begin(), dims.end(), space.dims.begin());
  for (size_t i = 0; i < N; ++i) {
    space.start[i] = context.params.integer();
    const auto strides = context.params.list();
    if (strides.size() != dims.size()) return "strides do not fit the rank";
    set_walk(dims, strides, i, space.strides);
    if (i >= context.operands.size() || !context.operands[i].present()) return "operand is absent";
    const int64_t limit = context.operands[i].bytes / item_bytes[i];
    if (elements > 0 && !is_within(dims, strides, space.start[i], limit)) {
      return "operand " + std::to_string(i) + " is too small for its strides";
    }
  }
  return "";
}

// True when the operand is there and holds `count` items (count >= 0).
inline bool holds(const PrepareContext& context, size_t operand, int64_t count, int64_t bytes) {
  return operand < context.operands.size() && context.operands[operand].present() && count >= 0 &&
         context.operands[operand].bytes / bytes >= count;
}

// Elements of one unit of element-wise work.
inline constexpr int64_t kChunk = 4096;

inline int64_t chunk_units(int64_t elements) { return ceil_div(elements, kChunk); }

}  // namespace colonnade::exec

// Row-major index spaces that several strided operands walk together.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace colonnade {

inline constexpr int kMaxRank = 8;

// dims[0] x ... x dims[rank - 1], rank >= 1. Operand i has the element of index x at
// start[i] + sum(x[d] * strides[i][d]); strides count elements and may be zero or negative.
template <int N>
struct IndexSpace {
  int rank = 1;
  std::array<int64_t, kMaxRank> dims{};
  std::array<std::array<int64_t, kMaxRank>, N> strides{};
  std::array<int64_t, N> start{};

  int64_t last_stride(int operand) const {
    return strides[static_cast<size_t>(operand)][static_cast<size_t>(rank - 1)];
  }
};

// Calls fn(offsets, position, count) for the elements [begin, end) of the space in row-major order,
// one call per run along the last axis. Element j of a run is at offsets[i] + j * last_stride(i) of
// operand i and has row-major number position + j.
template <int N, typename Fn>
void for_each_run(const IndexSpace<N>& space, int64_t begin, int64_t end, const Fn& fn) {
  if (begin >= end) return;
  const auto last = static_cast<size_t>(space.rank - 1);
  std::array<int64_t, kMaxRank> index{};
  std::array<int64_t, N> offsets = space.start;
  int64_t rest = begin;
  for (size_t d = last + 1; d-- > 0;) {
    index[d] = rest % space.dims[d];
    rest /= space.dims[d];
    for (size_t i = 0; i < N; ++i) offsets[i] += index[d] * space.strides[i][d];
  }
  while (true) {
    const int64_t count = std::min(end - begin, space.dims[last] - index[last]);
    fn(offsets, begin, count);
    begin += count;
    if (begin == end) return;
    for (size_t i = 0; i < N; ++i) offsets[i] -= index[last] * space.strides[i][last];
    index[last] = 0;
    for (size_t d = last; d-- > 0;) {
      for (size_t i = 0; i < N; ++i) offsets[i] += space.strides[i][d];
      if (++index[d] < space.dims[d]) break;
      for (size_t i = 0; i < N; ++i) offsets[i] -= space.dims[d] * space.strides[i][d];
      index[d] = 0;
    }
  }
}

}  // namespace colonnade

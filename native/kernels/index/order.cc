#include "kernels/index/order.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "base/arithmetic.h"

namespace colonnade::kernels {
namespace {

// a < b with NaN above every number: a strict weak order.
template <typename T>
bool is_less(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return a < b || (a == a && b != b);
  } else {
    return a < b;
  }
}

// True when `value` takes the place of `best`.
template <typename T, bool kMin, bool kLast>
bool replaces(T value, T best) {
  if constexpr (kLast) {
    return kMin ? !is_less(best, value) : !is_less(value, best);
  } else {
    return kMin ? is_less(value, best) : is_less(best, value);
  }
}

// Inner positions are taken in blocks, so that the input is read in order.
constexpr int64_t kArgBlock = 64;

template <typename T, bool kMin, bool kLast>
void arg_outer(const AxisShape& s, const T* in, int64_t* out) {
  std::array<T, kArgBlock> best;
  for (int64_t block = 0; block < s.inner; block += kArgBlock) {
    const int64_t count = std::min(kArgBlock, s.inner - block);
    std::copy_n(in + block, count, best.begin());
    std::fill_n(out + block, count, 0);
    for (int64_t d = 1; d < s.dim; ++d) {
      const T* row = in + d * s.inner + block;
      for (int64_t i = 0; i < count; ++i) {
        if (replaces<T, kMin, kLast>(row[i], best[static_cast<size_t>(i)])) {
          best[static_cast<size_t>(i)] = row[i];
          out[block + i] = d;
        }
      }
    }
  }
}

template <typename T>
void arg_items(const ArgAxisParams& p, const std::byte* in, int64_t* out, int64_t begin,
               int64_t end) {
  const auto run = p.is_min
                       ? (p.is_last ? &arg_outer<T, true, true> : &arg_outer<T, true, false>)
                       : (p.is_last ? &arg_outer<T, false, true> : &arg_outer<T, false, false>);
  for (int64_t o = begin; o < end; ++o) {
    run(p.shape, reinterpret_cast<const T*>(in) + o * p.shape.dim * p.shape.inner,
        out + o * p.shape.inner);
  }
}

template <typename T>
struct Ranked {
  T value;
  int64_t index;
};

template <typename T>
void top_k_items(const TopKParams& p, const std::byte* in, std::byte* values, int64_t* indices,
                 std::byte* scratch, int64_t begin, int64_t end) {
  const AxisShape& s = p.shape;
  auto* ranked = reinterpret_cast<Ranked<T>*>(scratch);
  T* out = reinterpret_cast<T*>(values);
  for (int64_t line = begin; line < end; ++line) {
    const int64_t outer = line / s.inner;
    const int64_t inner = line % s.inner;
    const T* from = reinterpret_cast<const T*>(in) + outer * s.dim * s.inner + inner;
    for (int64_t d = 0; d < s.dim; ++d) ranked[d] = {from[d * s.inner], d};
    const bool is_largest = p.is_largest;
    std::partial_sort(ranked, ranked + p.k, ranked + s.dim,
                      [is_largest](const Ranked<T>& a, const Ranked<T>& b) {
                        if (is_less(a.value, b.value)) return !is_largest;
                        if (is_less(b.value, a.value)) return is_largest;
                        return a.index < b.index;
                      });
    for (int64_t i = 0; i < p.k; ++i) {
      const int64_t to = (outer * p.k + i) * s.inner + inner;
      out[to] = ranked[i].value;
      indices[to] = ranked[i].index;
    }
  }
}

template <typename T>
void scan_items(const ScanParams& p, const std::byte* in, std::byte* out, int64_t begin,
                int64_t end) {
  const AxisShape& s = p.shape;
  const int64_t step = p.is_reverse ? -s.inner : s.inner;
  for (int64_t o = begin; o < end; ++o) {
    const int64_t first = (o * s.dim + (p.is_reverse ? s.dim - 1 : 0)) * s.inner;
    const T* from = reinterpret_cast<const T*>(in) + first;
    T* to = reinterpret_cast<T*>(out) + first;
    for (int64_t d = 0; d < s.dim; ++d, from += step, to += step) {
      for (int64_t i = 0; i < s.inner; ++i) {
        if (d == 0) {
          to[i] = p.is_exclusive ? static_cast<T>(p.is_product ? 1 : 0) : from[i];
        } else {
          const T next = p.is_exclusive ? from[i - step] : from[i];
          to[i] = p.is_product ? wrap_mul(to[i - step], next) : wrap_add(to[i - step], next);
        }
      }
    }
  }
}

}  // namespace

ArgFn find_arg(DType type) {
  return visit_numeric(type,
                       [](auto tag) -> ArgFn { return &arg_items<typename decltype(tag)::type>; });
}

TopKFn find_top_k(DType type) {
  return visit_numeric(
      type, [](auto tag) -> TopKFn { return &top_k_items<typename decltype(tag)::type>; });
}

ScanFn find_scan(DType type) {
  return visit_numeric(
      type, [](auto tag) -> ScanFn { return &scan_items<typename decltype(tag)::type>; });
}

}  // namespace colonnade::kernels

#include "kernels/integer/reduce.h"

#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/arithmetic.h"

namespace colonnade::kernels {
namespace {

constexpr size_t kLanes = 16;
constexpr int64_t kInnerBlock = 256;  // Accumulators of the kept inner axis: 2 KB at most.

// A reduction is: Acc, start(), step(acc, element), join(acc, acc), finish(acc, count) -> T.
template <typename T>
using Wide = std::conditional_t<std::is_floating_point_v<T>, T,
                                std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;

// Roots and logarithms of integers go through double.
template <typename T>
using Real = std::conditional_t<std::is_floating_point_v<T>, T, double>;

template <typename T, typename R>
T from_real(R value) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else {
    const bool fits = value >= static_cast<R>(std::numeric_limits<T>::min()) &&
                      value < static_cast<R>(std::numeric_limits<T>::max());
    return fits ? static_cast<T>(value) : std::numeric_limits<T>::min();
  }
}

template <typename T>
struct Sum {
  using Acc = Wide<T>;
  static Acc start() { return 0; }
  static Acc step(Acc acc, T x) { return wrap_add(acc, static_cast<Acc>(x)); }
  static Acc join(Acc a, Acc b) { return wrap_add(a, b); }
  static T finish(Acc acc, int64_t) { return static_cast<T>(acc); }
};

template <typename T>
struct Mean : Sum<T> {
  using Acc = Wide<T>;
  static T finish(Acc acc, int64_t count) {
    return static_cast<T>(divide(acc, static_cast<Acc>(count)));
  }
};

template <typename T>
struct L1 : Sum<T> {
  using Acc = Wide<T>;
  static Acc step(Acc acc, T x) {
    const auto wide = static_cast<Acc>(x);
    return wrap_add(acc, wide < 0 ? wrap_negate(wide) : wide);
  }
};

template <typename T>
struct SumSquare : Sum<T> {
  using Acc = Wide<T>;
  static Acc step(Acc acc, T x) {
    const auto wide = static_cast<Acc>(x);
    return wrap_add(acc, wrap_mul(wide, wide));
  }
};

template <typename T>
struct Prod {
  using Acc = Wide<T>;
  static Acc start() { return 1; }
  static Acc step(Acc acc, T x) { return wrap_mul(acc, static_cast<Acc>(x)); }
  static Acc join(Acc a, Acc b) { return wrap_mul(a, b); }
  static T finish(Acc acc, int64_t) { return static_cast<T>(acc); }
};

template <typename T>
struct Min {
  using Acc = T;
  static Acc start() {
    using Limits = std::numeric_limits<T>;
    return Limits::has_infinity ? Limits::infinity() : Limits::max();
  }
  static Acc step(Acc acc, T x) { return acc < x || acc != acc ? acc : x; }
  static Acc join(Acc a, Acc b) { return step(a, b); }
  static T finish(Acc acc, int64_t) { return acc; }
};

template <typename T>
struct Max {
  using Acc = T;
  static Acc start() {
    using Limits = std::numeric_limits<T>;
    return Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  }
  static Acc step(Acc acc, T x) { return acc > x || acc != acc ? acc : x; }
  static Acc join(Acc a, Acc b) { return step(a, b); }
  static T finish(Acc acc, int64_t) { return acc; }
};

template <typename T>
struct L2 {
  using Acc = Real<T>;
  static Acc start() { return 0; }
  static Acc step(Acc acc, T x) { return acc + static_cast<Acc>(x) * static_cast<Acc>(x); }
  static Acc join(Acc a, Acc b) { return a + b; }
  static T finish(Acc acc, int64_t) { return from_real<T>(std::sqrt(acc)); }
};

template <typename T>
struct LogSum {
  using Acc = Real<T>;
  static Acc start() { return 0; }
  static Acc step(Acc acc, T x) { return acc + static_cast<Acc>(x); }
  static Acc join(Acc a, Acc b) { return a + b; }
  static T finish(Acc acc, int64_t) { return from_real<T>(std::log(acc)); }
};

// log(sum(exp(x))) without overflow: the sum is kept relative to the largest element so far.
template <typename T>
struct LogSumExp {
  struct Acc {
    Real<T> top;
    Real<T> sum;
  };
  static Acc start() { return {-std::numeric_limits<Real<T>>::infinity(), 0}; }
  static Acc step(Acc acc, T x) { return join(acc, {static_cast<Real<T>>(x), 1}); }
  static Acc join(Acc a, Acc b) {
    // Infinite tops: the difference would be NaN where both are the same infinity.
    if (a.top == b.top) return {a.top, a.sum + b.sum};
    const Acc& high = a.top < b.top ? b : a;
    const Acc& low = a.top < b.top ? a : b;
    return {high.top, high.sum + low.sum * std::exp(low.top - high.top)};
  }
  static T finish(Acc acc, int64_t) { return from_real<T>(acc.top + std::log(acc.sum)); }
};

// One output whose last axis is reduced.
template <template <typename> typename F, typename T>
T reduce_one(const ReduceAxesParams& p, const T* in) {
  using Op = F<T>;
  std::array<typename Op::Acc, kLanes> lanes;
  lanes.fill(Op::start());
  const int64_t step = p.reduced.last_stride(0);
  for_each_run(p.reduced, 0, p.reduced_elements, [&](const auto& offsets, int64_t, int64_t count) {
    const T* x = in + offsets[0];
    int64_t i = 0;
    if (step == 1) {
      for (; i + static_cast<int64_t>(kLanes) <= count; i += kLanes) {
        for (size_t lane = 0; lane < kLanes; ++lane) {
          lanes[lane] = Op::step(lanes[lane], x[i + static_cast<int64_t>(lane)]);
        }
      }
    }
    for (; i < count; ++i) lanes[0] = Op::step(lanes[0], x[i * step]);
  });
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) {
      lanes[lane] = Op::join(lanes[lane], lanes[lane + half]);
    }
  }
  return Op::finish(lanes[0], p.reduced_elements);
}

// `inner` neighbouring outputs: rows are added up.
template <template <typename> typename F, typename T>
void reduce_rows(const ReduceAxesParams& p, const T* in, T* out) {
  using Op = F<T>;
  std::array<typename Op::Acc, kInnerBlock> acc;
  for (int64_t block = 0; block < p.inner; block += kInnerBlock) {
    const auto width = static_cast<size_t>(std::min(kInnerBlock, p.inner - block));
    acc.fill(Op::start());
    const int64_t step = p.reduced.last_stride(0);
    for_each_run(p.reduced, 0, p.reduced_elements,
                 [&](const auto& offsets, int64_t, int64_t count) {
                   const T* row = in + offsets[0] + block;
                   for (int64_t r = 0; r < count; ++r, row += step) {
                     for (size_t i = 0; i < width; ++i) acc[i] = Op::step(acc[i], row[i]);
                   }
                 });
    for (size_t i = 0; i < width; ++i) {
      out[block + static_cast<int64_t>(i)] = Op::finish(acc[i], p.reduced_elements);
    }
  }
}

template <template <typename> typename F, typename T>
void reduce(const ReduceAxesParams& p, const std::byte* in, std::byte* out, int64_t begin,
            int64_t end) {
  const T* from = reinterpret_cast<const T*>(in);
  T* to = reinterpret_cast<T*>(out);
  const int64_t step = p.kept.last_stride(0);
  for_each_run(p.kept, begin, end, [&](const auto& offsets, int64_t position, int64_t count) {
    for (int64_t k = 0; k < count; ++k) {
      const T* at = from + offsets[0] + k * step;
      if (p.inner == 1) {
        to[position + k] = reduce_one<F>(p, at);
      } else {
        reduce_rows<F>(p, at, to + (position + k) * p.inner);
      }
    }
  });
}

template <template <typename> typename F>
ReduceFn find_typed(DType type) {
  switch (type) {
    case DType::float32:
      return &reduce<F, float>;
    case DType::float64:
      return &reduce<F, double>;
    case DType::int32:
      return &reduce<F, int32_t>;
    case DType::int64:
      return &reduce<F, int64_t>;
    case DType::uint32:
      return &reduce<F, uint32_t>;
    case DType::uint64:
      return &reduce<F, uint64_t>;
    default:
      return nullptr;
  }
}

template <template <typename> typename F>
ReduceFn find_extreme(DType type) {
  if (type == DType::int8) return &reduce<F, int8_t>;
  if (type == DType::uint8) return &reduce<F, uint8_t>;
  return find_typed<F>(type);
}

// Logical and, or: the identity of nothing is true for min and false for max.
void reduce_bool_min(const ReduceAxesParams& p, const std::byte* in, std::byte* out, int64_t begin,
                     int64_t end) {
  reduce<Min, uint8_t>(p, in, out, begin, end);
  if (p.reduced_elements > 0) return;
  for (int64_t i = begin * p.inner; i < end * p.inner; ++i) out[i] = std::byte{1};
}

}  // namespace

ReduceFn find_reduce(ReduceOp op, DType type) {
  switch (op) {
    case ReduceOp::sum:
      return find_typed<Sum>(type);
    case ReduceOp::prod:
      return find_typed<Prod>(type);
    case ReduceOp::min:
      return type == DType::boolean ? &reduce_bool_min : find_extreme<Min>(type);
    case ReduceOp::max:
      return find_extreme<Max>(type == DType::boolean ? DType::uint8 : type);
    case ReduceOp::mean:
      return find_typed<Mean>(type);
    case ReduceOp::l1:
      return find_typed<L1>(type);
    case ReduceOp::l2:
      return find_typed<L2>(type);
    case ReduceOp::sum_square:
      return find_typed<SumSquare>(type);
    case ReduceOp::log_sum:
      return find_typed<LogSum>(type);
    case ReduceOp::log_sum_exp:
      return find_typed<LogSumExp>(type);
  }
  return nullptr;
}

}  // namespace colonnade::kernels

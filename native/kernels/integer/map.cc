#include "kernels/integer/map.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include "base/arithmetic.h"

namespace colonnade::kernels {
namespace {

template <typename F, typename A, typename B, typename R>
void map_binary(const std::byte* a, int64_t a_step, const std::byte* b, int64_t b_step,
                std::byte* out, int64_t count) {
  const A* x = reinterpret_cast<const A*>(a);
  const B* y = reinterpret_cast<const B*>(b);
  R* to = reinterpret_cast<R*>(out);
  if (a_step == 1 && b_step == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = F::apply(x[i], y[i]);
  } else if (a_step == 1 && b_step == 0) {
    const B value = *y;
    for (int64_t i = 0; i < count; ++i) to[i] = F::apply(x[i], value);
  } else if (a_step == 0 && b_step == 1) {
    const A value = *x;
    for (int64_t i = 0; i < count; ++i) to[i] = F::apply(value, y[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = F::apply(x[i * a_step], y[i * b_step]);
  }
}

template <typename F, typename T, typename R>
void map_unary(const std::byte* in, int64_t step, std::byte* out, int64_t count) {
  const T* x = reinterpret_cast<const T*>(in);
  R* to = reinterpret_cast<R*>(out);
  if (step == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = F::apply(x[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = F::apply(x[i * step]);
  }
}

struct Add {
  template <typename T>
  static T apply(T a, T b) {
    return wrap_add(a, b);
  }
};
struct Sub {
  template <typename T>
  static T apply(T a, T b) {
    return wrap_sub(a, b);
  }
};
struct Mul {
  template <typename T>
  static T apply(T a, T b) {
    return wrap_mul(a, b);
  }
};
struct Div {
  template <typename T>
  static T apply(T a, T b) {
    return divide(a, b);
  }
};
struct Mod {
  template <typename T>
  static T apply(T a, T b) {
    return remainder_of_floor(a, b);
  }
};
struct Fmod {
  template <typename T>
  static T apply(T a, T b) {
    return remainder_of_truncation(a, b);
  }
};
struct Min {
  template <typename T>
  static T apply(T a, T b) {
    return a < b || a != a ? a : b;
  }
};
struct Max {
  template <typename T>
  static T apply(T a, T b) {
    return a > b || a != a ? a : b;
  }
};
struct Equal {
  template <typename T>
  static uint8_t apply(T a, T b) {
    return a == b;
  }
};
struct Less {
  template <typename T>
  static uint8_t apply(T a, T b) {
    return a < b;
  }
};
struct LessEqual {
  template <typename T>
  static uint8_t apply(T a, T b) {
    return a <= b;
  }
};
struct BitAnd {
  template <typename T>
  static T apply(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct BitOr {
  template <typename T>
  static T apply(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct BitXor {
  template <typename T>
  static T apply(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
// A negative amount counts as one of the width or more.
template <typename T>
bool is_full_shift(T amount) {
  return static_cast<uint64_t>(amount) >= sizeof(T) * 8;
}

struct ShiftLeft {
  template <typename T>
  static T apply(T a, T b) {
    return is_full_shift(b) ? T{0} : static_cast<T>(static_cast<uint64_t>(a) << b);
  }
};
struct ShiftRight {
  template <typename T>
  static T apply(T a, T b) {
    if (!is_full_shift(b)) return static_cast<T>(a >> b);
    return a < 0 ? static_cast<T>(-1) : T{0};
  }
};

struct Pow {
  template <typename T, typename E>
  static T apply(T base, E exponent) {
    if constexpr (std::is_integral_v<T> && std::is_integral_v<E>) {
      return integer_power(base, exponent);
    } else if constexpr (std::is_same_v<T, float> && std::is_same_v<E, float>) {
      return std::pow(base, exponent);
    } else {
      return from_double<T>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
    }
  }

 private:
  // An integer result truncates; one that does not fit is the lowest value.
  template <typename T>
  static T from_double(double value) {
    if constexpr (std::is_integral_v<T>) {
      constexpr auto kLow = static_cast<double>(std::numeric_limits<T>::min());
      constexpr double kTop = 2.0 * static_cast<double>(std::numeric_limits<T>::max() / 2 + 1);
      const bool fits = value >= kLow && value < kTop;
      return fits ? static_cast<T>(value) : std::numeric_limits<T>::min();
    } else {
      return static_cast<T>(value);
    }
  }
};

struct Negate {
  template <typename T>
  static T apply(T a) {
    return wrap_negate(a);
  }
};
struct Abs {
  template <typename T>
  static T apply(T a) {
    if constexpr (std::is_floating_point_v<T>) {
      return std::abs(a);
    } else {
      return a < 0 ? wrap_negate(a) : a;
    }
  }
};
struct Sign {
  template <typename T>
  static T apply(T a) {
    if (a != a) return a;
    return static_cast<T>((a > 0 ? 1 : 0) - (a < 0 ? 1 : 0));
  }
};
struct Not {
  static uint8_t apply(uint8_t a) { return a == 0; }
};
struct BitNot {
  template <typename T>
  static T apply(T a) {
    return static_cast<T>(~a);
  }
};
struct IsNan {
  template <typename T>
  static uint8_t apply(T a) {
    return a != a;
  }
};
struct IsInf {
  template <typename T>
  static uint8_t apply(T a) {
    return std::abs(a) == std::numeric_limits<T>::infinity();
  }
};
struct IsPositiveInf {
  template <typename T>
  static uint8_t apply(T a) {
    return a == std::numeric_limits<T>::infinity();
  }
};
struct IsNegativeInf {
  template <typename T>
  static uint8_t apply(T a) {
    return a == -std::numeric_limits<T>::infinity();
  }
};

template <typename T>
void clip(const std::byte* in, const std::byte* low, const std::byte* high, std::byte* out,
          int64_t count) {
  using Limits = std::numeric_limits<T>;
  const T lowest = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  const T highest = Limits::has_infinity ? Limits::infinity() : Limits::max();
  const T floor = low != nullptr ? *reinterpret_cast<const T*>(low) : lowest;
  const T ceiling = high != nullptr ? *reinterpret_cast<const T*>(high) : highest;
  const T* x = reinterpret_cast<const T*>(in);
  T* to = reinterpret_cast<T*>(out);
  for (int64_t i = 0; i < count; ++i) {
    const T raised = x[i] < floor ? floor : x[i];
    to[i] = raised > ceiling ? ceiling : raised;
  }
}

template <typename F>
BinaryFn find_arithmetic(DType type) {
  return visit_numeric(type, [](auto tag) -> BinaryFn {
    using T = typename decltype(tag)::type;
    return &map_binary<F, T, T, T>;
  });
}

template <typename F>
BinaryFn find_comparison(DType type) {
  if (type == DType::boolean) type = DType::uint8;
  return visit_numeric(type, [](auto tag) -> BinaryFn {
    using T = typename decltype(tag)::type;
    return &map_binary<F, T, T, uint8_t>;
  });
}

// By size: signs do not matter to bits.
template <typename F>
BinaryFn find_bits(DType type) {
  if (type == DType::float32 || type == DType::float64 || type == DType::float16) return nullptr;
  return visit_item_bytes(item_bytes(type), [](auto tag) -> BinaryFn {
    using T = typename decltype(tag)::type;
    return &map_binary<F, T, T, T>;
  });
}

template <typename F>
BinaryFn find_shift(DType type) {
  return visit_numeric(type, [](auto tag) -> BinaryFn {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_integral_v<T>) return &map_binary<F, T, T, T>;
    return nullptr;
  });
}

template <typename T>
BinaryFn find_pow_of(DType exponent) {
  switch (exponent) {
    case DType::float32:
      return &map_binary<Pow, T, float, T>;
    case DType::float64:
      return &map_binary<Pow, T, double, T>;
    case DType::int32:
      return &map_binary<Pow, T, int32_t, T>;
    case DType::int64:
      return &map_binary<Pow, T, int64_t, T>;
    case DType::uint32:
      return &map_binary<Pow, T, uint32_t, T>;
    case DType::uint64:
      return &map_binary<Pow, T, uint64_t, T>;
    default:
      return nullptr;
  }
}

BinaryFn find_pow(DType base, DType exponent) {
  switch (base) {
    case DType::float32:
      return find_pow_of<float>(exponent);
    case DType::float64:
      return find_pow_of<double>(exponent);
    case DType::int32:
      return find_pow_of<int32_t>(exponent);
    case DType::int64:
      return find_pow_of<int64_t>(exponent);
    default:
      return nullptr;
  }
}

template <typename F>
UnaryFn find_float_test(DType type) {
  if (type == DType::float32) return &map_unary<F, float, uint8_t>;
  if (type == DType::float64) return &map_unary<F, double, uint8_t>;
  return nullptr;
}

template <typename F>
UnaryFn find_numeric_unary(DType type) {
  return visit_numeric(type, [](auto tag) -> UnaryFn {
    using T = typename decltype(tag)::type;
    return &map_unary<F, T, T>;
  });
}

UnaryFn find_bit_not(DType type) {
  if (type == DType::float32 || type == DType::float64) return nullptr;
  return visit_numeric(type, [](auto tag) -> UnaryFn {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_integral_v<T>) return &map_unary<BitNot, T, T>;
    return nullptr;
  });
}

}  // namespace

ClipFn find_clip(DType type) {
  return visit_numeric(type,
                       [](auto tag) -> ClipFn { return &clip<typename decltype(tag)::type>; });
}

BinaryFn find_binary(BinaryOp op, DType a_type, DType b_type) {
  if (op == BinaryOp::pow) return find_pow(a_type, b_type);
  if (a_type != b_type) return nullptr;
  switch (op) {
    case BinaryOp::add:
      return find_arithmetic<Add>(a_type);
    case BinaryOp::sub:
      return find_arithmetic<Sub>(a_type);
    case BinaryOp::mul:
      return find_arithmetic<Mul>(a_type);
    case BinaryOp::div:
      return find_arithmetic<Div>(a_type);
    case BinaryOp::mod:
      return find_arithmetic<Mod>(a_type);
    case BinaryOp::fmod:
      return find_arithmetic<Fmod>(a_type);
    case BinaryOp::min:
      return find_arithmetic<Min>(a_type);
    case BinaryOp::max:
      return find_arithmetic<Max>(a_type);
    case BinaryOp::equal:
      return find_comparison<Equal>(a_type);
    case BinaryOp::less:
      return find_comparison<Less>(a_type);
    case BinaryOp::less_equal:
      return find_comparison<LessEqual>(a_type);
    case BinaryOp::bit_and:
      return find_bits<BitAnd>(a_type);
    case BinaryOp::bit_or:
      return find_bits<BitOr>(a_type);
    case BinaryOp::bit_xor:
      return find_bits<BitXor>(a_type);
    case BinaryOp::shift_left:
      return find_shift<ShiftLeft>(a_type);
    case BinaryOp::shift_right:
      return find_shift<ShiftRight>(a_type);
    case BinaryOp::pow:
      break;
  }
  return nullptr;
}

UnaryFn find_unary(UnaryOp op, DType type) {
  switch (op) {
    case UnaryOp::negate:
      return find_numeric_unary<Negate>(type);
    case UnaryOp::abs:
      return find_numeric_unary<Abs>(type);
    case UnaryOp::sign:
      return find_numeric_unary<Sign>(type);
    case UnaryOp::logical_not:
      return type == DType::boolean ? &map_unary<Not, uint8_t, uint8_t> : nullptr;
    case UnaryOp::bit_not:
      return find_bit_not(type);
    case UnaryOp::is_nan:
      return find_float_test<IsNan>(type);
    case UnaryOp::is_inf:
      return find_float_test<IsInf>(type);
    case UnaryOp::is_positive_inf:
      return find_float_test<IsPositiveInf>(type);
    case UnaryOp::is_negative_inf:
      return find_float_test<IsNegativeInf>(type);
  }
  return nullptr;
}

}  // namespace colonnade::kernels

// Arithmetic that is defined for every operand: integers wrap, a division by zero gives 0 and
// INT_MIN / -1 gives INT_MIN. Floating-point types follow IEEE 754.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace colonnade {

template <typename T>
T wrap_add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return a + b;
  }
}

template <typename T>
T wrap_sub(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
  } else {
    return a - b;
  }
}

template <typename T>
T wrap_mul(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  } else {
    return a * b;
  }
}

template <typename T>
T wrap_negate(T a) {
  return std::is_integral_v<T> ? wrap_sub(T{0}, a) : -a;
}

// Towards zero.
template <typename T>
T divide(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return wrap_negate(a);
    }
    return static_cast<T>(a / b);
  } else {
    return a / b;
  }
}

// The remainder with the sign of a (C, fmod).
template <typename T>
T remainder_of_truncation(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
    }
    return static_cast<T>(a % b);
  } else {
    return std::fmod(a, b);
  }
}

// The remainder with the sign of b (Python, numpy.mod).
template <typename T>
T remainder_of_floor(T a, T b) {
  const T remainder = remainder_of_truncation(a, b);
  const bool differs = remainder != 0 && (remainder < 0) != (b < 0);
  return differs ? wrap_add(remainder, b) : remainder;
}

// Wraps like repeated multiplication. A negative exponent gives what truncation leaves of the
// fraction: 0, or 1 and -1 for the bases 1 and -1; 0 for base 0.
template <typename T, typename E>
T integer_power(T base, E exponent) {
  if constexpr (std::is_signed_v<E>) {
    if (exponent < 0) {
      if (base == 1) return 1;
      if constexpr (std::is_signed_v<T>) {
        if (base == -1) return (exponent & 1) != 0 ? T{-1} : T{1};
      }
      return 0;
    }
  }
  T result = 1;
  while (exponent != 0) {
    if ((exponent & 1) != 0) result = wrap_mul(result, base);
    base = wrap_mul(base, base);
    exponent = static_cast<E>(exponent >> 1);
  }
  return result;
}

}  // namespace colonnade

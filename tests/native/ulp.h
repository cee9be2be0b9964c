// Distances between a float and an exact value.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace colonnade::test {

// In units of the last place of a float of the exact value's size; an infinity counts as 2^128.
inline double ulp_distance(float got, double exact) {
  const double finite_got = std::isinf(got) ? std::copysign(0x1p128, got) : got;
  const double bounded = std::clamp(exact, -0x1p128, 0x1p128);
  const int exponent = bounded == 0.0 ? -126 : std::max(std::ilogb(bounded), -126);
  return std::abs(finite_got - bounded) / std::ldexp(1.0, std::min(exponent, 127) - 23);
}

inline bool is_same(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

}  // namespace colonnade::test

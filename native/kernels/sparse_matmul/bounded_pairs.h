// Four int8 as two fours whose pairs are bounded.
//
// Instructions that add the products of a pair, uint8 x int8, in 16 bits saturate (vpmaddubsw).
// They cannot where the weights of a pair that have one sign sum up to 128 at most: 255 x 128 <
// 2^15. Weights that exceed this are split: four = main + excess, and both are bounded.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace colonnade::kernels {

struct BoundedFour {
  int8_t main[4];
  int8_t excess[4];
  bool has_excess;
};

inline constexpr int kPairBound = 128;

inline BoundedFour bound_pairs(const int8_t* four) {
  BoundedFour bounded = {};
  for (int i = 0; i < 4; i += 2) {
    const int a = four[i], b = four[i + 1];
    const int over = (a < 0) == (b < 0) ? std::abs(a + b) - kPairBound : 0;
    const int excess = over <= 0 ? 0 : a < 0 ? -over : over;
    const int larger = std::abs(a) >= std::abs(b) ? i : i + 1;
    bounded.main[i] = four[i];
    bounded.main[i + 1] = four[i + 1];
    bounded.main[larger] = static_cast<int8_t>(bounded.main[larger] - excess);
    bounded.excess[larger] = static_cast<int8_t>(excess);
    bounded.has_excess = bounded.has_excess || excess != 0;
  }
  return bounded;
}

}  // namespace colonnade::kernels

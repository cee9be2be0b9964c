#include "simd/portable.h"

#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::portable {
namespace {

// Each byte of a lane, widened.
struct DotX {
  IntVec byte[4];
};
using DotW = DotX;

inline DotX as_bytes(IntVec lanes) {
  const IntVec mask = set1_int(0xff);
  return {{lanes & mask, shift_right<8>(lanes) & mask, shift_right<16>(lanes) & mask,
           shift_right<24>(lanes)}};
}

inline DotW as_weights(IntVec lanes) {
  return {{shift_right_arithmetic<24>(shift_left<24>(lanes)),
           shift_right_arithmetic<24>(shift_left<16>(lanes)),
           shift_right_arithmetic<24>(shift_left<8>(lanes)), shift_right_arithmetic<24>(lanes)}};
}

inline IntVec dot(const DotX& x, const DotW& w, IntVec acc) {
  for (int i = 0; i < 4; ++i) acc.raw += x.byte[i].raw * w.byte[i].raw;
  return acc;
}

// Sums of a vector of columns of four channels; see depthwise_x86.inc.
template <typename LoadRow>
inline void sum_taps(const LoadRow& load_row, const int8_t* w, int64_t taps, IntVec (&sums)[4]) {
  for (IntVec& sum : sums) sum = set1_int(0);
  for (int64_t tap = 0; tap < taps; ++tap) {
    const DotX x = as_bytes(load_row(tap));
    for (int c = 0; c < 4; ++c) {
      sums[c].raw += x.byte[c].raw * w[tap / 4 * 16 + c * 4 + tap % 4];
    }
  }
}

#include "kernels/conv/pack_runs.inc"
// Its packing and dot products come first.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_4x16_portable
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::portable

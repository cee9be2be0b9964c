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

constexpr int64_t kTapsTogether = 1;

inline IntVec load_four_lanes(const int8_t* p) {
  return load_int(reinterpret_cast<const int32_t*>(p));
}

// Vectors of a column each become vectors of a channel each.
inline void gather_channels(const IntVec (&columns)[4], IntVec (&channels)[4]) {
  for (int c = 0; c < 4; ++c) {
    channels[c].raw =
        RawInt{columns[0].raw[c], columns[1].raw[c], columns[2].raw[c], columns[3].raw[c]};
  }
}

inline const int8_t* prepare_taps(const int8_t* w, int64_t, int8_t*) { return w; }

// Adds x * w of all taps; see depthwise_pairs.inc. sums[j]: the channels of column j.
template <typename Load>
inline void add_taps(const Load& load, const int8_t* w, int64_t taps, IntVec (&sums)[4]) {
  static_assert(kLanes == 4);
  for (int64_t tap = 0; tap < taps; ++tap) {
    const DotX x = as_bytes(load(tap));
    for (int c = 0; c < 4; ++c) {
      const int32_t weight = w[tap / 4 * 16 + c * 4 + tap % 4];
      for (int j = 0; j < 4; ++j) sums[j].raw[c] += x.byte[c].raw[j] * weight;
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

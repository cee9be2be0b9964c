#include "simd/portable.h"

#include "kernels/qrnn/qrnn.h"

namespace colonnade::portable {
namespace {

constexpr int kByteItems = 2;

struct AnyDot {
  // Each byte of a lane, widened.
  struct X {
    IntVec byte[4];
  };
  using W = X;
  static constexpr int32_t kShift = 0;

  static X read(const uint8_t* x, int64_t) {
    return {{set1_int(x[0]), set1_int(x[1]), set1_int(x[2]), set1_int(x[3])}};
  }
  static W weights(IntVec lanes) {
    return {{shift_right_arithmetic<24>(shift_left<24>(lanes)),
             shift_right_arithmetic<24>(shift_left<16>(lanes)),
             shift_right_arithmetic<24>(shift_left<8>(lanes)), shift_right_arithmetic<24>(lanes)}};
  }
  static IntVec dot(const X& x, const W& w, IntVec acc) {
    for (int i = 0; i < 4; ++i) acc.raw += x.byte[i].raw * w.byte[i].raw;
    return acc;
  }
};
using BoundDot = AnyDot;

inline void store_state(uint8_t* bytes, int64_t, IntVec v) {
  for (int lane = 0; lane < kLanes; ++lane) bytes[lane] = static_cast<uint8_t>(v.raw[lane]);
}

#include "kernels/qrnn/qrnn_impl.inc"

}  // namespace

#define COLONNADE_ROW qrnn_4_portable
#include "kernels/qrnn/entry.inc"

}  // namespace colonnade::portable

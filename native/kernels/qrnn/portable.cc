#include "simd/portable.h"

#include "kernels/qrnn/qrnn.h"

namespace colonnade::portable {
namespace {

// Each byte of a lane, widened.
struct DotX {
  IntVec byte[4];
};
using DotW = DotX;

constexpr int kByteItems = 2;
constexpr int32_t kStateShift = 0;

inline DotX read_state(const uint8_t* x) {
  return {{set1_int(x[0]), set1_int(x[1]), set1_int(x[2]), set1_int(x[3])}};
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

inline void store_bytes(uint8_t* bytes, IntVec v) {
  for (int lane = 0; lane < kLanes; ++lane) bytes[lane] = static_cast<uint8_t>(v.raw[lane]);
}

#include "kernels/qrnn/qrnn_impl.inc"

}  // namespace

#define COLONNADE_ROW qrnn_4_portable
#include "kernels/qrnn/entry.inc"

}  // namespace colonnade::portable

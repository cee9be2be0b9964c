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

inline DotX load_bytes(const uint8_t* p) {
  const IntVec lanes = load_int(reinterpret_cast<const int32_t*>(p));
  const IntVec mask = set1_int(0xff);
  return {{lanes & mask, shift_right<8>(lanes) & mask, shift_right<16>(lanes) & mask,
           shift_right<24>(lanes)}};
}

// Four weights in every lane.
inline DotW spread_bytes(const int8_t* w) {
  return {{set1_int(w[0]), set1_int(w[1]), set1_int(w[2]), set1_int(w[3])}};
}

inline IntVec dot(const DotX& x, const DotW& w, IntVec acc) {
  for (int i = 0; i < 4; ++i) acc.raw += x.byte[i].raw * w.byte[i].raw;
  return acc;
}

#include "kernels/conv/pack_runs.inc"
// Its packing and dot products come first.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_4x16_portable
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::portable

#include "simd/x86_avx512.h"

#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::avx512_vnni {
namespace {

using namespace avx512;

using DotX = IntVec;
using DotW = IntVec;

inline DotX load_bytes(const uint8_t* p) { return load_int(reinterpret_cast<const int32_t*>(p)); }

// Four weights in every lane.
inline DotW spread_bytes(const int8_t* w) {
  int32_t four;
  __builtin_memcpy(&four, w, sizeof four);
  return set1_int(four);
}

inline IntVec dot(DotX x, DotW w, IntVec acc) {
  return {_mm512_dpbusd_epi32(acc.raw, x.raw, w.raw)};
}

// Packing comes before products.
#include "kernels/conv/pack_pieces_avx512.inc"
// Extend it.
#include "kernels/conv/plan_shift_avx512.inc"
#include "kernels/conv/pack_lines_avx512.inc"
// Uses all of them.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_4x64_avx512_vnni
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::avx512_vnni

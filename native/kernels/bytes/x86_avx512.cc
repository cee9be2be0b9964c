#include "simd/x86_avx512.h"

#include "kernels/bytes/bytes.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/qmatmul/lanes_avx512.inc"

constexpr __mmask64 kAllBytes = ~__mmask64{0};

// Masked form: see simd/x86_avx512.h.
inline IntVec max_bytes(IntVec a, IntVec b) {
  return {_mm512_maskz_max_epu8(kAllBytes, a.raw, b.raw)};
}

#include "kernels/matmul/unroll.inc"
// Look up tables with it.
#include "kernels/bytes/lookup_x86.inc"
// Everything else.
#include "kernels/bytes/bytes.inc"

}  // namespace

#define COLONNADE_ROW bytes_64_avx512
#include "kernels/bytes/entry.inc"

}  // namespace colonnade::avx512

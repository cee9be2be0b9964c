#include "simd/x86_avx2.h"

#include "kernels/bytes/bytes.h"

namespace colonnade::avx2 {
namespace {

#define COLONNADE_INTRINSIC(op) _mm256_##op

inline IntVec load_four_lanes(const int8_t* p) {
  return {_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}

inline IntVec max_bytes(IntVec a, IntVec b) { return {_mm256_max_epu8(a.raw, b.raw)}; }

#include "kernels/matmul/unroll.inc"
// Look up tables with it.
#include "kernels/bytes/lookup_x86.inc"
// Everything else.
#include "kernels/bytes/bytes.inc"

}  // namespace

#define COLONNADE_ROW bytes_16_avx2
#include "kernels/bytes/entry.inc"

}  // namespace colonnade::avx2

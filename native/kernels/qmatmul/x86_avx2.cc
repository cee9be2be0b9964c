#include "simd/x86_avx2.h"

#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::avx2 {
namespace {

#define COLONNADE_INTRINSIC(op) _mm256_##op

inline __m256i unpack_low32(__m256i a, __m256i b) { return _mm256_unpacklo_epi32(a, b); }
inline __m256i unpack_high32(__m256i a, __m256i b) { return _mm256_unpackhi_epi32(a, b); }
inline __m256i unpack_low64(__m256i a, __m256i b) { return _mm256_unpacklo_epi64(a, b); }
inline __m256i unpack_high64(__m256i a, __m256i b) { return _mm256_unpackhi_epi64(a, b); }

inline IntVec load_four_lanes(const int8_t* p) {
  return {_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}

#include "kernels/conv/pack_runs.inc"
#include "kernels/qmatmul/depthwise_pairs.inc"
#include "kernels/qmatmul/depthwise_x86.inc"
#include "kernels/qmatmul/dot_pairs.inc"
// After the dot products.
#include "kernels/qmatmul/band_vectors.inc"
// Uses all of them.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_4x16_avx2
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::avx2

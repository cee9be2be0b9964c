#include "simd/x86_avx2.h"

#include "kernels/qrnn/qrnn.h"

namespace colonnade::avx2 {
namespace {

#define COLONNADE_INTRINSIC(op) _mm256_##op
#include "kernels/qmatmul/dot_split.inc"

constexpr int kByteItems = 2;
constexpr int32_t kStateShift = 0;

inline DotX read_state(const uint8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return as_bytes(set1_int(four));
}

inline void store_bytes(uint8_t* bytes, IntVec v) {
  const __m128i words =
      _mm_packus_epi32(_mm256_castsi256_si128(v.raw), _mm256_extracti128_si256(v.raw, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes), _mm_packus_epi16(words, words));
}

#include "kernels/qrnn/qrnn_impl.inc"

}  // namespace

#define COLONNADE_ROW qrnn_8_avx2
#include "kernels/qrnn/entry.inc"

}  // namespace colonnade::avx2

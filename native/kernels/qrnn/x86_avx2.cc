#include "simd/x86_avx2.h"

#include "kernels/qrnn/qrnn.h"

namespace colonnade::avx2 {
namespace {

#define COLONNADE_INTRINSIC(op) _mm256_##op

#include "kernels/qrnn/dot_halves.inc"

constexpr int kByteItems = 2;

// In assembly, for GCC 12 keeps sums in memory around the intrinsic.
inline IntVec add(IntVec sum, IntVec term) {
  asm("vpaddd %1, %0, %0" : "+x"(sum.raw) : "x"(term.raw));
  return sum;
}

// Pairs in 16 bits: |x - 128| <= 128 times a weight that took its sign. 2 * 128 * 127 fits, and
// -127 to 127 have both signs.
struct Signs {
  struct X {
    IntVec value;
    IntVec magnitude;
  };
  using W = IntVec;
  static constexpr int32_t kShift = 128;

  static X read(const uint8_t* x, int64_t plane) {
    int32_t value, magnitude;
    __builtin_memcpy(&value, x, sizeof value);
    __builtin_memcpy(&magnitude, x + plane, sizeof magnitude);
    return {set1_int(value), set1_int(magnitude)};
  }
  static W weights(IntVec lanes) { return lanes; }
  static IntVec dot(X x, W w, IntVec acc) {
    const __m256i turned = _mm256_sign_epi8(w.raw, x.value.raw);
    const __m256i pairs = _mm256_maddubs_epi16(x.magnitude.raw, turned);
    return add(acc, {_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))});
  }
};

using AnyDot = Halves<0x80808080>;
using BoundDot = Signs;

// x - 128 and, a plane further, its magnitude.
inline void store_state(uint8_t* bytes, int64_t plane, IntVec v) {
  const IntVec centred = v - set1_int(128);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(centred.raw),
                                        _mm256_extracti128_si256(centred.raw, 1));
  const __m128i value = _mm_packs_epi16(words, words);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes), value);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes + plane), _mm_abs_epi8(value));
}

#include "kernels/qrnn/qrnn_impl.inc"

}  // namespace

#define COLONNADE_ROW qrnn_8_avx2
#include "kernels/qrnn/entry.inc"

}  // namespace colonnade::avx2

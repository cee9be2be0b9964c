// The vector vocabulary of simd/vec.h on AVX-512 F, BW, DQ and VL.
#pragma once

#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "simd/x86_avx512.h belongs in x86_avx512*.cc, compiled with the AVX-512 flags"
#endif

#include <immintrin.h>
#include <math.h>

#include <cstdint>

#include "simd/vec.h"

namespace colonnade::avx512 {

inline constexpr int kLanes = 16;
inline constexpr int kPanel = 64;

struct Vec {
  __m512 raw;
};
struct IntVec {
  __m512i raw;
};
struct Mask {
  __mmask16 raw;
};

// GCC 12 warns of an uninitialised value inside the unmasked forms of some intrinsics; with every
// lane selected the masked forms compile to the same instruction.
inline constexpr __mmask16 kAll = 0xffff;

inline __mmask16 tail_mask(int count) { return static_cast<__mmask16>((1u << count) - 1u); }

inline Vec set1(float value) { return {_mm512_set1_ps(value)}; }
inline Vec load(const float* p) { return {_mm512_load_ps(p)}; }
inline Vec loadu(const float* p) { return {_mm512_loadu_ps(p)}; }
// Elements 0, 2, 4, ... of p. The second load starts one early, to end with the last of them.
inline Vec load_even(const float* p) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
  return {_mm512_permutex2var_ps(_mm512_loadu_ps(p), even, _mm512_loadu_ps(p + kLanes - 1))};
}
inline Vec load_tail(const float* p, int count) {
  return {_mm512_maskz_loadu_ps(tail_mask(count), p)};
}
inline void store(float* p, Vec v) { _mm512_store_ps(p, v.raw); }
inline void storeu(float* p, Vec v) { _mm512_storeu_ps(p, v.raw); }
inline void store_tail(float* p, Vec v, int count) {
  _mm512_mask_storeu_ps(p, tail_mask(count), v.raw);
}

inline IntVec set1_int(int32_t value) { return {_mm512_set1_epi32(value)}; }
inline IntVec load_int(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_int(int32_t* p, IntVec v) { _mm512_storeu_si512(p, v.raw); }
inline IntVec bits(Vec v) { return {_mm512_castps_si512(v.raw)}; }
inline Vec from_bits(IntVec v) { return {_mm512_castsi512_ps(v.raw)}; }

inline IntVec operator+(IntVec a, IntVec b) { return {_mm512_add_epi32(a.raw, b.raw)}; }
inline IntVec operator-(IntVec a, IntVec b) { return {_mm512_sub_epi32(a.raw, b.raw)}; }
inline IntVec operator&(IntVec a, IntVec b) { return {_mm512_and_si512(a.raw, b.raw)}; }
inline IntVec operator|(IntVec a, IntVec b) { return {_mm512_or_si512(a.raw, b.raw)}; }
inline IntVec operator^(IntVec a, IntVec b) { return {_mm512_xor_si512(a.raw, b.raw)}; }
template <int kBits>
inline IntVec shift_left(IntVec v) {
  return {_mm512_maskz_slli_epi32(kAll, v.raw, kBits)};
}
template <int kBits>
inline IntVec shift_right(IntVec v) {
  return {_mm512_maskz_srli_epi32(kAll, v.raw, kBits)};
}
template <int kBits>
inline IntVec shift_right_arithmetic(IntVec v) {
  return {_mm512_maskz_srai_epi32(kAll, v.raw, kBits)};
}
inline Vec to_float(IntVec v) { return {_mm512_maskz_cvtepi32_ps(kAll, v.raw)}; }
inline IntVec to_int(Vec v) { return {_mm512_maskz_cvttps_epi32(kAll, v.raw)}; }
inline IntVec to_int_even(Vec v) { return {_mm512_maskz_cvtps_epi32(kAll, v.raw)}; }

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.raw, b.raw)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.raw, b.raw)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.raw, b.raw)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.raw, b.raw)}; }
inline Vec operator-(Vec v) { return {_mm512_xor_ps(v.raw, _mm512_set1_ps(-0.0f))}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.raw, b.raw, c.raw)}; }
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.raw, b.raw, c.raw)}; }
inline Vec mul_add(Vec a, Vec b, Vec c) { return fma(a, b, c); }

inline Mask operator&(Mask a, Mask b) { return {_kand_mask16(a.raw, b.raw)}; }
inline Mask operator|(Mask a, Mask b) { return {_kor_mask16(a.raw, b.raw)}; }
inline Mask operator~(Mask a) { return {_knot_mask16(a.raw)}; }
inline Mask first_lanes(int count) { return {tail_mask(count)}; }
inline Vec load_masked(const float* p, Mask m) { return {_mm512_maskz_loadu_ps(m.raw, p)}; }
inline Vec permute(Vec v, IntVec i) { return {_mm512_maskz_permutexvar_ps(kAll, i.raw, v.raw)}; }
inline IntVec load_nibbles(const void* p) {
  const __m128i pairs = _mm_loadl_epi64(static_cast<const __m128i*>(p));
  const __m512i twice = _mm512_maskz_cvtepu8_epi32(kAll, _mm_unpacklo_epi8(pairs, pairs));
  return {_mm512_maskz_srlv_epi32(kAll, twice, _mm512_set1_epi64(int64_t{4} << 32))};
}
inline bool any(Mask a) { return a.raw != 0; }
inline Mask lt(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_LT_OQ)}; }
inline Mask le(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_LE_OQ)}; }
inline Mask gt(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_GT_OQ)}; }
inline Mask ge(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_GE_OQ)}; }
inline Mask eq(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_EQ_OQ)}; }
inline Mask ne(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_NEQ_UQ)}; }
inline Mask is_nan(Vec a) { return {_mm512_cmp_ps_mask(a.raw, a.raw, _CMP_UNORD_Q)}; }
inline Mask gt(IntVec a, IntVec b) { return {_mm512_cmpgt_epi32_mask(a.raw, b.raw)}; }
inline Mask eq(IntVec a, IntVec b) { return {_mm512_cmpeq_epi32_mask(a.raw, b.raw)}; }
inline Vec select(Mask m, Vec a, Vec b) { return {_mm512_mask_blend_ps(m.raw, b.raw, a.raw)}; }
inline IntVec select(Mask m, IntVec a, IntVec b) {
  return {_mm512_mask_blend_epi32(m.raw, b.raw, a.raw)};
}

// The instructions return their second operand for unordered and for equal operands.
inline Vec min_second(Vec a, Vec b) { return {_mm512_maskz_min_ps(kAll, a.raw, b.raw)}; }
inline Vec max_second(Vec a, Vec b) { return {_mm512_maskz_max_ps(kAll, a.raw, b.raw)}; }
inline Vec min(Vec a, Vec b) { return select(is_nan(a), a, min_second(a, b)); }
inline Vec max(Vec a, Vec b) { return select(is_nan(a), a, max_second(a, b)); }
inline Vec abs(Vec v) { return {_mm512_maskz_andnot_ps(kAll, _mm512_set1_ps(-0.0f), v.raw)}; }
inline Vec copysign(Vec magnitude, Vec sign) {
  constexpr int kBitSelect = 0xca;  // first ? second : third
  return from_bits({_mm512_ternarylogic_epi32(_mm512_set1_epi32(INT32_MIN), bits(sign).raw,
                                              bits(magnitude).raw, kBitSelect)});
}
inline Vec sqrt(Vec v) { return {_mm512_maskz_sqrt_ps(kAll, v.raw)}; }
inline Vec floor(Vec v) {
  return {_mm512_maskz_roundscale_ps(kAll, v.raw, _MM_FROUND_TO_NEG_INF | 8)};
}
inline Vec ceil(Vec v) {
  return {_mm512_maskz_roundscale_ps(kAll, v.raw, _MM_FROUND_TO_POS_INF | 8)};
}
inline Vec trunc(Vec v) {
  return {_mm512_maskz_roundscale_ps(kAll, v.raw, _MM_FROUND_TO_ZERO | 8)};
}
inline Vec round_even(Vec v) { return {_mm512_maskz_roundscale_ps(kAll, v.raw, 8)}; }

inline Vec power2(Vec n) { return {_mm512_maskz_scalef_ps(kAll, _mm512_set1_ps(1.0f), n.raw)}; }
inline Vec scale2(Vec v, Vec n) { return {_mm512_maskz_scalef_ps(kAll, v.raw, n.raw)}; }

inline simd::SplitExponent<Vec> split_exponent(Vec v) {
  const Vec mantissa = {
      _mm512_maskz_getmant_ps(kAll, v.raw, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src)};
  const Vec exponent = {_mm512_maskz_getexp_ps(kAll, v.raw)};  // of a mantissa in [1, 2)
  const Mask halved = lt(mantissa, set1(1.0f));
  const __m512 one = _mm512_set1_ps(1.0f);
  return {mantissa, {_mm512_mask_add_ps(exponent.raw, halved.raw, exponent.raw, one)}};
}

inline Vec swap_halves(Vec v) { return {_mm512_maskz_shuffle_f32x4(kAll, v.raw, v.raw, 0x4e)}; }
inline Vec swap_quarters(Vec v) { return {_mm512_maskz_shuffle_f32x4(kAll, v.raw, v.raw, 0xb1)}; }
inline Vec swap_pairs(Vec v) { return {_mm512_maskz_permute_ps(kAll, v.raw, 0x4e)}; }
inline Vec swap_neighbours(Vec v) { return {_mm512_maskz_permute_ps(kAll, v.raw, 0xb1)}; }
inline float first_lane(Vec v) { return _mm512_cvtss_f32(v.raw); }

inline float sum_lanes(Vec v) {
  v = v + swap_halves(v);
  v = v + swap_quarters(v);
  v = v + swap_pairs(v);
  return first_lane(v + swap_neighbours(v));
}
inline float max_lanes(Vec v) {
  v = max(v, swap_halves(v));
  v = max(v, swap_quarters(v));
  v = max(v, swap_pairs(v));
  return first_lane(max(v, swap_neighbours(v)));
}
inline float min_lanes(Vec v) {
  v = min(v, swap_halves(v));
  v = min(v, swap_quarters(v));
  v = min(v, swap_pairs(v));
  return first_lane(min(v, swap_neighbours(v)));
}

static_assert(simd::Vocabulary<Vec, IntVec, Mask>);

#include "simd/math.inc"

}  // namespace colonnade::avx512

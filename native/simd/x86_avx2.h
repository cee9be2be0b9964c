// The vector vocabulary of simd/vec.h on AVX2 and FMA.
#pragma once

#if !defined(__AVX2__) || !defined(__FMA__)
#error "simd/x86_avx2.h belongs in x86_avx2*.cc, compiled with the AVX2 and FMA flags"
#endif

#include <immintrin.h>
#include <math.h>

#include <cstdint>

#include "simd/vec.h"

namespace colonnade::avx2 {

inline constexpr int kLanes = 8;
inline constexpr int kPanel = 16;

struct Vec {
  __m256 raw;
};
struct IntVec {
  __m256i raw;
};
// All bits of a lane are equal.
struct Mask {
  __m256 raw;
};

// Eight ones, then eight zeros: a window of eight starting at 8 - n has its first n lanes set.
alignas(64) inline constexpr int32_t kTailWindow[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

inline __m256i tail_mask(int count) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kTailWindow + 8 - count));
}

inline Vec set1(float value) { return {_mm256_set1_ps(value)}; }
inline Vec load(const float* p) { return {_mm256_load_ps(p)}; }
inline Vec loadu(const float* p) { return {_mm256_loadu_ps(p)}; }
// Elements 0, 2, 4, ... of p. The second load starts one early, to end with the last of them.
inline Vec load_even(const float* p) {
  const __m256 mixed = _mm256_shuffle_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + kLanes - 1), 0xd8);
  return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8))};
}
inline Vec load_tail(const float* p, int count) {
  return {_mm256_maskload_ps(p, tail_mask(count))};
}
inline void store(float* p, Vec v) { _mm256_store_ps(p, v.raw); }
inline void storeu(float* p, Vec v) { _mm256_storeu_ps(p, v.raw); }
inline void store_tail(float* p, Vec v, int count) {
  _mm256_maskstore_ps(p, tail_mask(count), v.raw);
}

inline IntVec set1_int(int32_t value) { return {_mm256_set1_epi32(value)}; }
inline IntVec load_int(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
inline void store_int(int32_t* p, IntVec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.raw);
}
inline IntVec bits(Vec v) { return {_mm256_castps_si256(v.raw)}; }
inline Vec from_bits(IntVec v) { return {_mm256_castsi256_ps(v.raw)}; }

inline IntVec operator+(IntVec a, IntVec b) { return {_mm256_add_epi32(a.raw, b.raw)}; }
inline IntVec operator-(IntVec a, IntVec b) { return {_mm256_sub_epi32(a.raw, b.raw)}; }
inline IntVec operator&(IntVec a, IntVec b) { return {_mm256_and_si256(a.raw, b.raw)}; }
inline IntVec operator|(IntVec a, IntVec b) { return {_mm256_or_si256(a.raw, b.raw)}; }
inline IntVec operator^(IntVec a, IntVec b) { return {_mm256_xor_si256(a.raw, b.raw)}; }
template <int kBits>
inline IntVec shift_left(IntVec v) {
  return {_mm256_slli_epi32(v.raw, kBits)};
}
template <int kBits>
inline IntVec shift_right(IntVec v) {
  return {_mm256_srli_epi32(v.raw, kBits)};
}
template <int kBits>
inline IntVec shift_right_arithmetic(IntVec v) {
  return {_mm256_srai_epi32(v.raw, kBits)};
}
inline Vec to_float(IntVec v) { return {_mm256_cvtepi32_ps(v.raw)}; }
inline IntVec to_int(Vec v) { return {_mm256_cvttps_epi32(v.raw)}; }
inline IntVec to_int_even(Vec v) { return {_mm256_cvtps_epi32(v.raw)}; }

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.raw, b.raw)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.raw, b.raw)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.raw, b.raw)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.raw, b.raw)}; }
inline Vec operator-(Vec v) { return {_mm256_xor_ps(v.raw, _mm256_set1_ps(-0.0f))}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.raw, b.raw, c.raw)}; }
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.raw, b.raw, c.raw)}; }
inline Vec mul_add(Vec a, Vec b, Vec c) { return fma(a, b, c); }

inline Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.raw, b.raw)}; }
inline Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.raw, b.raw)}; }
inline Mask operator~(Mask a) {
  return {_mm256_xor_ps(a.raw, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
}
inline Mask first_lanes(int count) { return {_mm256_castsi256_ps(tail_mask(count))}; }
inline Vec load_masked(const float* p, Mask m) {
  return {_mm256_maskload_ps(p, _mm256_castps_si256(m.raw))};
}
inline Vec permute(Vec v, IntVec i) { return {_mm256_permutevar8x32_ps(v.raw, i.raw)}; }
inline IntVec load_nibbles(const void* p) {
  int32_t all;
  __builtin_memcpy(&all, p, sizeof all);
  return {
      _mm256_srlv_epi32(_mm256_set1_epi32(all), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28))};
}
inline bool any(Mask a) { return _mm256_movemask_ps(a.raw) != 0; }
inline Mask lt(Vec a, Vec b) { return {_mm256_cmp_ps(a.raw, b.raw, _CMP_LT_OQ)}; }
inline Mask le(Vec a, Vec b) { return {_mm256_cmp_ps(a.raw, b.raw, _CMP_LE_OQ)}; }
inline Mask gt(Vec a, Vec b) { return {_mm256_cmp_ps(a.raw, b.raw, _CMP_GT_OQ)}; }
inline Mask ge(Vec a, Vec b) { return {_mm256_cmp_ps(a.raw, b.raw, _CMP_GE_OQ)}; }
inline Mask eq(Vec a, Vec b) { return {_mm256_cmp_ps(a.raw, b.raw, _CMP_EQ_OQ)}; }
inline Mask ne(Vec a, Vec b) { return {_mm256_cmp_ps(a.raw, b.raw, _CMP_NEQ_UQ)}; }
inline Mask is_nan(Vec a) { return {_mm256_cmp_ps(a.raw, a.raw, _CMP_UNORD_Q)}; }
inline Mask gt(IntVec a, IntVec b) {
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.raw, b.raw))};
}
inline Mask eq(IntVec a, IntVec b) {
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.raw, b.raw))};
}
inline Vec select(Mask m, Vec a, Vec b) { return {_mm256_blendv_ps(b.raw, a.raw, m.raw)}; }
inline IntVec select(Mask m, IntVec a, IntVec b) {
  return bits(select(m, from_bits(a), from_bits(b)));
}

// The instructions return their second operand for unordered and for equal operands.
inline Vec min_second(Vec a, Vec b) { return {_mm256_min_ps(a.raw, b.raw)}; }
inline Vec max_second(Vec a, Vec b) { return {_mm256_max_ps(a.raw, b.raw)}; }
inline Vec min(Vec a, Vec b) { return select(is_nan(a), a, min_second(a, b)); }
inline Vec max(Vec a, Vec b) { return select(is_nan(a), a, max_second(a, b)); }
inline Vec abs(Vec v) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), v.raw)}; }
inline Vec copysign(Vec magnitude, Vec sign) {
  return {_mm256_or_ps(abs(magnitude).raw, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign.raw))};
}
inline Vec sqrt(Vec v) { return {_mm256_sqrt_ps(v.raw)}; }
inline Vec floor(Vec v) { return {_mm256_round_ps(v.raw, _MM_FROUND_TO_NEG_INF | 8)}; }
inline Vec ceil(Vec v) { return {_mm256_round_ps(v.raw, _MM_FROUND_TO_POS_INF | 8)}; }
inline Vec trunc(Vec v) { return {_mm256_round_ps(v.raw, _MM_FROUND_TO_ZERO | 8)}; }
inline Vec round_even(Vec v) { return {_mm256_round_ps(v.raw, 8)}; }

inline Vec power_of_two(IntVec n) { return from_bits(shift_left<23>(n + set1_int(127))); }
inline Vec power2(Vec n) { return power_of_two(to_int(n)); }

// Two exact-until-the-last steps, because 2^n itself may be out of range.
inline Vec scale2(Vec v, Vec n) {
  const IntVec whole = to_int(n);
  const IntVec half = shift_right_arithmetic<1>(whole);
  return v * power_of_two(half) * power_of_two(whole - half);
}

inline simd::SplitExponent<Vec> split_exponent(Vec v) {
  const Mask subnormal = lt(v, set1(0x1p-126f));
  const IntVec raw = bits(select(subnormal, v * set1(0x1p24f), v));
  const IntVec exponent = shift_right_arithmetic<23>(raw - bits(set1(0.75f)));
  const Vec bias = select(subnormal, set1(24.0f), set1(0.0f));
  return {from_bits(raw - shift_left<23>(exponent)), to_float(exponent) - bias};
}

inline Vec swap_halves(Vec v) { return {_mm256_permute2f128_ps(v.raw, v.raw, 1)}; }
inline Vec swap_pairs(Vec v) { return {_mm256_permute_ps(v.raw, 0x4e)}; }
inline Vec swap_neighbours(Vec v) { return {_mm256_permute_ps(v.raw, 0xb1)}; }
inline float first_lane(Vec v) { return _mm256_cvtss_f32(v.raw); }

inline float sum_lanes(Vec v) {
  v = v + swap_halves(v);
  v = v + swap_pairs(v);
  return first_lane(v + swap_neighbours(v));
}
inline float max_lanes(Vec v) {
  v = max(v, swap_halves(v));
  v = max(v, swap_pairs(v));
  return first_lane(max(v, swap_neighbours(v)));
}
inline float min_lanes(Vec v) {
  v = min(v, swap_halves(v));
  v = min(v, swap_pairs(v));
  return first_lane(min(v, swap_neighbours(v)));
}

static_assert(simd::Vocabulary<Vec, IntVec, Mask>);

#include "simd/math.inc"

}  // namespace colonnade::avx2

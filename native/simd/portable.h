// The vector vocabulary of simd/vec.h in plain C++ with the compiler's vector types: SSE2 on a
// baseline x86-64, NEON on AArch64. Its fma is a library call per lane where the CPU baseline has
// none: slow, but the same bits as the other instruction sets.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>

#include "simd/vec.h"

namespace colonnade::portable {

inline constexpr int kLanes = 4;
inline constexpr int kPanel = 16;

using RawFloat = float __attribute__((vector_size(16)));
using RawInt = int32_t __attribute__((vector_size(16)));
using RawUnsigned = uint32_t __attribute__((vector_size(16)));

struct Vec {
  RawFloat raw;
};
struct IntVec {
  RawInt raw;
};
// All bits of a lane are equal.
struct Mask {
  RawInt raw;
};

inline Vec set1(float value) { return {RawFloat{value, value, value, value}}; }
inline Vec loadu(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Vec load(const float* p) { return loadu(p); }
// Elements 0, 2, 4, ... of p.
inline Vec load_even(const float* p) {
  float even[kLanes];
  for (int i = 0; i < kLanes; ++i) even[i] = p[2 * i];
  return loadu(even);
}
inline Vec load_tail(const float* p, int count) {
  Vec v = set1(0.0f);
  for (int lane = 0; lane < count; ++lane) v.raw[lane] = p[lane];
  return v;
}
inline void storeu(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
inline void store(float* p, Vec v) { storeu(p, v); }
inline void store_tail(float* p, Vec v, int count) {
  for (int lane = 0; lane < count; ++lane) p[lane] = v.raw[lane];
}

inline IntVec set1_int(int32_t value) { return {RawInt{value, value, value, value}}; }
inline IntVec load_int(const int32_t* p) {
  IntVec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_int(int32_t* p, IntVec v) { std::memcpy(p, &v, sizeof v); }
inline IntVec bits(Vec v) { return {reinterpret_cast<RawInt>(v.raw)}; }
inline Vec from_bits(IntVec v) { return {reinterpret_cast<RawFloat>(v.raw)}; }

// Unsigned inside: int32 vectors wrap around on every ISA.
inline RawUnsigned to_unsigned(IntVec v) { return reinterpret_cast<RawUnsigned>(v.raw); }
inline IntVec from_unsigned(RawUnsigned v) { return {reinterpret_cast<RawInt>(v)}; }

inline IntVec operator+(IntVec a, IntVec b) {
  return from_unsigned(to_unsigned(a) + to_unsigned(b));
}
inline IntVec operator-(IntVec a, IntVec b) {
  return from_unsigned(to_unsigned(a) - to_unsigned(b));
}
inline IntVec operator&(IntVec a, IntVec b) { return {a.raw & b.raw}; }
inline IntVec operator|(IntVec a, IntVec b) { return {a.raw | b.raw}; }
inline IntVec operator^(IntVec a, IntVec b) { return {a.raw ^ b.raw}; }
template <int kBits>
inline IntVec shift_left(IntVec v) {
  return from_unsigned(to_unsigned(v) << kBits);
}
template <int kBits>
inline IntVec shift_right(IntVec v) {
  return from_unsigned(to_unsigned(v) >> kBits);
}
template <int kBits>
inline IntVec shift_right_arithmetic(IntVec v) {
  return {v.raw >> kBits};
}

inline Vec operator+(Vec a, Vec b) { return {a.raw + b.raw}; }
inline Vec operator-(Vec a, Vec b) { return {a.raw - b.raw}; }
inline Vec operator*(Vec a, Vec b) { return {a.raw * b.raw}; }
inline Vec operator/(Vec a, Vec b) { return {a.raw / b.raw}; }
inline Vec operator-(Vec v) { return from_bits(bits(v) ^ set1_int(INT32_MIN)); }
inline Vec fma(Vec a, Vec b, Vec c) {
  Vec v;
  for (int lane = 0; lane < kLanes; ++lane) {
    v.raw[lane] = __builtin_fmaf(a.raw[lane], b.raw[lane], c.raw[lane]);
  }
  return v;
}
inline Vec fnma(Vec a, Vec b, Vec c) { return fma(-a, b, c); }
inline Vec mul_add(Vec a, Vec b, Vec c) { return a * b + c; }

inline Mask operator&(Mask a, Mask b) { return {a.raw & b.raw}; }
inline Mask operator|(Mask a, Mask b) { return {a.raw | b.raw}; }
inline Mask operator~(Mask a) { return {~a.raw}; }
inline Mask first_lanes(int count) {
  return {RawInt{0, 1, 2, 3} < RawInt{count, count, count, count}};
}
inline Vec load_masked(const float* p, Mask m) {
  Vec v = set1(0.0f);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (m.raw[lane] != 0) v.raw[lane] = p[lane];
  }
  return v;
}
inline Vec permute(Vec v, IntVec i) {
  Vec chosen;
  for (int lane = 0; lane < kLanes; ++lane) chosen.raw[lane] = v.raw[i.raw[lane] & (kLanes - 1)];
  return chosen;
}
inline IntVec load_nibbles(const void* p) {
  uint16_t all;
  std::memcpy(&all, p, sizeof all);
  return from_unsigned((RawUnsigned{all, all, all, all} >> RawUnsigned{0, 4, 8, 12}) & 15);
}
inline bool any(Mask a) { return (a.raw[0] | a.raw[1] | a.raw[2] | a.raw[3]) != 0; }
inline Mask lt(Vec a, Vec b) { return {a.raw < b.raw}; }
inline Mask le(Vec a, Vec b) { return {a.raw <= b.raw}; }
inline Mask gt(Vec a, Vec b) { return {a.raw > b.raw}; }
inline Mask ge(Vec a, Vec b) { return {a.raw >= b.raw}; }
inline Mask eq(Vec a, Vec b) { return {a.raw == b.raw}; }
inline Mask ne(Vec a, Vec b) { return {a.raw != b.raw}; }
inline Mask is_nan(Vec a) { return ne(a, a); }
inline Mask gt(IntVec a, IntVec b) { return {a.raw > b.raw}; }
inline Mask eq(IntVec a, IntVec b) { return {a.raw == b.raw}; }
inline IntVec select(Mask m, IntVec a, IntVec b) { return {(a.raw & m.raw) | (b.raw & ~m.raw)}; }
inline Vec select(Mask m, Vec a, Vec b) { return from_bits(select(m, bits(a), bits(b))); }

inline Vec min_second(Vec a, Vec b) { return select(lt(a, b), a, b); }
inline Vec max_second(Vec a, Vec b) { return select(gt(a, b), a, b); }
inline Vec min(Vec a, Vec b) { return select(lt(a, b) | is_nan(a), a, b); }
inline Vec max(Vec a, Vec b) { return select(gt(a, b) | is_nan(a), a, b); }
inline Vec abs(Vec v) { return from_bits(bits(v) & set1_int(INT32_MAX)); }
inline Vec copysign(Vec magnitude, Vec sign) {
  return from_bits(bits(abs(magnitude)) | (bits(sign) & set1_int(INT32_MIN)));
}
inline Vec sqrt(Vec v) {
  for (int lane = 0; lane < kLanes; ++lane) v.raw[lane] = __builtin_sqrtf(v.raw[lane]);
  return v;
}

// Floats of 2^23 and above are integers already; below, adding and taking away 2^23 rounds.
inline Vec round_even(Vec v) {
  const Vec magic = set1(0x1p23f);
  const Vec rounded = (abs(v) + magic) - magic;
  return copysign(select(lt(abs(v), magic), rounded, abs(v)), v);
}
inline Vec trunc(Vec v) {
  const Vec nearest = abs(round_even(v));
  const Vec one_less = nearest - set1(1.0f);
  return copysign(select(gt(nearest, abs(v)), one_less, nearest), v);
}
inline Vec floor(Vec v) {
  const Vec nearest = round_even(v);
  return copysign(select(gt(nearest, v), nearest - set1(1.0f), nearest), v);
}
inline Vec ceil(Vec v) { return -floor(-v); }

inline Vec to_float(IntVec v) { return {__builtin_convertvector(v.raw, RawFloat)}; }
inline IntVec to_int(Vec v) {
  const Mask in_range = lt(abs(v), set1(0x1p31f));
  const Vec safe = select(in_range, v, set1(0.0f));
  return select(in_range, {__builtin_convertvector(safe.raw, RawInt)}, set1_int(INT32_MIN));
}
inline IntVec to_int_even(Vec v) { return to_int(round_even(v)); }

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

inline float sum_lanes(Vec v) { return (v.raw[0] + v.raw[2]) + (v.raw[1] + v.raw[3]); }
inline Vec swap_pairs(Vec v) { return {RawFloat{v.raw[2], v.raw[3], v.raw[0], v.raw[1]}}; }
inline Vec swap_neighbours(Vec v) { return {RawFloat{v.raw[1], v.raw[0], v.raw[3], v.raw[2]}}; }
inline float max_lanes(Vec v) {
  v = max(v, swap_pairs(v));
  return max(v, swap_neighbours(v)).raw[0];
}
inline float min_lanes(Vec v) {
  v = min(v, swap_pairs(v));
  return min(v, swap_neighbours(v)).raw[0];
}

static_assert(simd::Vocabulary<Vec, IntVec, Mask>);

#include "simd/math.inc"

}  // namespace colonnade::portable

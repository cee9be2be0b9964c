// One vector vocabulary for every instruction set.
//
// A kernel's ISA source (x86_avx2.cc, ...) includes exactly one of simd/portable.h,
// simd/x86_avx2.h and simd/x86_avx512.h. Each defines the names below in its own namespace
// (colonnade::portable, ::avx2, ::avx512), as functions on that namespace's own types, so no inline
// symbol is shared between instruction sets: the linker can never hand AVX-512 code to an older
// CPU. For the same reason ISA sources call no std:: function templates and include no header that
// defines inline functions outside of its ISA namespace. AVX-512 VNNI and AMX sources use avx512's
// fp32 vocabulary.
//
// Vec holds kLanes floats, IntVec kLanes int32, Mask kLanes truth values. kPanel is the number of
// lanes of a column panel.
//
//   set1(x) load(p) loadu(p) load_tail(p, n) store(p, v) storeu(p, v) store_tail(p, v, n)
//       load and store need p aligned to kLanes floats. The tail forms touch only the first n
//       elements, 0 <= n <= kLanes; the other lanes of load_tail are zero.
//   load_even(p) = p[0], p[2], p[4], ...; reads no float past the last of them
//   + - * / and unary -: IEEE single precision, round to nearest even
//   fma(a, b, c) = a * b + c, fnma(a, b, c) = c - a * b: one rounding, everywhere
//   mul_add(a, b, c) = a * b + c with one or two roundings, whichever is fast
//   min(a, b), max(a, b): NaN if either is NaN (ONNX); of two zeros the second
//   min_second(a, b), max_second(a, b): b if either is NaN or both are equal; one instruction
//   abs, copysign(magnitude, sign), sqrt (correctly rounded), floor, ceil, trunc, round_even
//   lt le gt ge eq (false on NaN), ne (true on NaN), is_nan; Mask & | ~, any(mask)
//   select(mask, a, b) = mask ? a : b; first_lanes(n): true in the first n lanes, 0 <= n <= kLanes
//   set1_int(k), IntVec + - & | ^, shift_left<k>, shift_right<k> (logical),
//       shift_right_arithmetic<k>, bits(Vec), from_bits(IntVec), to_float(IntVec),
//       to_int(Vec) truncates, to_int_even(Vec) rounds to nearest even: both give INT32_MIN
//       outside of int32 and for NaN; gt(IntVec, IntVec), eq(IntVec, IntVec),
//       select(Mask, IntVec, IntVec), load_int(p), store_int(p, v) (unaligned)
//   load_masked(p, m): touches only the elements where m is true; the other lanes are zero
//   permute(v, i) = v[i mod kLanes], lane by lane; load_nibbles(p): kLanes numbers of 4 bits at p,
//   of
//       which only what permute reads is meant
//   scale2(v, n) = v * 2^n with one rounding; n integral, |n| <= 250, and 2^-8 <= |v| <= 2^8, or v
//       zero or NaN
//   power2(n) = 2^n; n integral, |n| <= 126
//   split_exponent(v) -> {mantissa, exponent}: v = mantissa * 2^exponent, mantissa in [0.75, 1.5),
//       for positive finite v, subnormals included
//   sum_lanes, max_lanes, min_lanes: pairwise in a fixed order; max and min give NaN for any NaN
//
// The same inputs give the same bits on every ISA, except sum_lanes (kLanes differs), mul_add, and
// the payload of a NaN. This needs -ffp-contract=off. simd/math.inc adds the transcendental
// functions on top.
#pragma once

#include <concepts>

namespace colonnade::simd {

// A mantissa and its exponent; see split_exponent.
template <typename Vec>
struct SplitExponent {
  Vec mantissa;
  Vec exponent;
};

// What every ISA header asserts of its types.
template <typename Vec, typename IntVec, typename Mask>
concept Vocabulary = requires(Vec v, IntVec i, Mask m, float* p) {
  { -(v + v - v * v / v) } -> std::same_as<Vec>;
  { fma(v, v, fnma(v, v, mul_add(v, v, v))) } -> std::same_as<Vec>;
  { min(max(min_second(v, max_second(v, v)), v), v) } -> std::same_as<Vec>;
  { abs(copysign(sqrt(v), floor(ceil(trunc(round_even(v)))))) } -> std::same_as<Vec>;
  { (lt(v, v) & le(v, v)) | ~(gt(v, v) & ge(v, v)) } -> std::same_as<Mask>;
  { eq(v, v) | ne(v, v) | is_nan(v) | gt(i, i) | eq(i, i) } -> std::same_as<Mask>;
  { any(m) } -> std::same_as<bool>;
  { select(m, v, v) } -> std::same_as<Vec>;
  { select(m, i + i, (i - i) & (i | i) & (i ^ i)) } -> std::same_as<IntVec>;
  { shift_left<1>(shift_right<1>(shift_right_arithmetic<1>(i))) } -> std::same_as<IntVec>;
  { bits(v) } -> std::same_as<IntVec>;
  { from_bits(i) } -> std::same_as<Vec>;
  { to_float(i) } -> std::same_as<Vec>;
  { to_int(v) } -> std::same_as<IntVec>;
  { permute(load_masked(p, m), i) } -> std::same_as<Vec>;
  { to_int_even(v) } -> std::same_as<IntVec>;
  { scale2(power2(v), split_exponent(v).exponent) } -> std::same_as<Vec>;
  { sum_lanes(v) + max_lanes(v) + min_lanes(v) } -> std::same_as<float>;
  store(p, v);
  storeu(p, v);
  store_tail(p, v, 1);
};

}  // namespace colonnade::simd

#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"
#include "simd/x86_avx512.h"

namespace colonnade::avx512_vnni {
namespace {

using namespace avx512;

#include "kernels/qmatmul/lanes_avx512.inc"

using DotX = IntVec;
using DotW = IntVec;

inline DotX as_bytes(IntVec lanes) { return lanes; }
inline DotW as_weights(IntVec lanes) { return lanes; }

// In assembly, for GCC 12 moves every sum to another register around the intrinsic.
inline IntVec dot(DotX x, DotW w, IntVec acc) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc.raw) : "v"(x.raw), "v"(w.raw));
  return acc;
}

#include "kernels/qmatmul/depthwise_fours.inc"
#include "kernels/qmatmul/depthwise_x86.inc"
// Packing comes before products.
#include "kernels/conv/pack_pieces_avx512.inc"
// Extend it.
#include "kernels/conv/pack_lines_avx512.inc"
#include "kernels/conv/plan_shift.inc"
// Uses all of them.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_4x64_avx512_vnni
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::avx512_vnni

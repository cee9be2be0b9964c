#include "kernels/pair_product/pair_product.h"
#include "kernels/qmatmul/qmatmul.h"
#include "simd/x86_avx512.h"

namespace colonnade::avx512_vnni {
namespace {

using namespace avx512;

// In assembly, for GCC 12 moves every sum to another register around the intrinsic.
inline IntVec dot_pairs(IntVec x, IntVec w, IntVec acc) {
  asm("vpdpwssd %2, %1, %0" : "+v"(acc.raw) : "v"(x.raw), "v"(w.raw));
  return acc;
}

#include "kernels/layout/transpose_avx512.inc"
#include "kernels/pair_product/attention_impl.inc"
#include "kernels/pair_product/matmul_impl.inc"

}  // namespace

#define COLONNADE_ROW pair_product_4x64_avx512_vnni
#include "kernels/pair_product/entry.inc"

}  // namespace colonnade::avx512_vnni

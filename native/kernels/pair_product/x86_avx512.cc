#include "simd/x86_avx512.h"

#include "kernels/pair_product/pair_product.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::avx512 {
namespace {

inline IntVec dot_pairs(IntVec x, IntVec w, IntVec acc) {
  return acc + IntVec{_mm512_madd_epi16(x.raw, w.raw)};
}

#include "kernels/layout/transpose_avx512.inc"
#include "kernels/pair_product/attention_impl.inc"
#include "kernels/pair_product/matmul_impl.inc"

}  // namespace

#define COLONNADE_ROW pair_product_4x64_avx512
#include "kernels/pair_product/entry.inc"

}  // namespace colonnade::avx512

#include "simd/portable.h"

#include "kernels/pair_product/pair_product.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::portable {
namespace {

inline IntVec dot_pairs(IntVec x, IntVec w, IntVec acc) {
  const auto low = [](IntVec v) { return shift_right_arithmetic<16>(shift_left<16>(v)); };
  const auto high = [](IntVec v) { return shift_right_arithmetic<16>(v); };
  acc.raw += low(x).raw * low(w).raw;
  acc.raw += high(x).raw * high(w).raw;
  return acc;
}

#include "kernels/layout/transpose_portable.inc"
#include "kernels/pair_product/attention_impl.inc"
#include "kernels/pair_product/matmul_impl.inc"

}  // namespace

#define COLONNADE_ROW pair_product_4x16_portable
#include "kernels/pair_product/entry.inc"

}  // namespace colonnade::portable

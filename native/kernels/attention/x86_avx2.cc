#include "simd/x86_avx2.h"

#include "kernels/attention/attention.h"

namespace colonnade::avx2 {
namespace {

#include "kernels/attention/attention_impl.inc"
#include "kernels/layout/transpose_avx2.inc"

}  // namespace

void attention_f32_6x16_avx2(const kernels::AttentionParams& params, int64_t begin, int64_t end,
                             float* scratch) {
  run_attention<6>(params, begin, end, scratch);
}

}  // namespace colonnade::avx2

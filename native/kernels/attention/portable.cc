#include "simd/portable.h"

#include "kernels/attention/attention.h"

namespace colonnade::portable {
namespace {

#include "kernels/attention/attention_impl.inc"
#include "kernels/layout/transpose_portable.inc"

}  // namespace

void attention_f32_2x16_portable(const kernels::AttentionParams& params, int64_t begin, int64_t end,
                                 float* scratch) {
  run_attention<2>(params, begin, end, scratch);
}

}  // namespace colonnade::portable

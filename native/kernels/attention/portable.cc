#include "simd/portable.h"

#include "kernels/attention/attention.h"

namespace colonnade::portable {
namespace {

#include "kernels/attention/attention_impl.inc"

}  // namespace

void attention_f32_6x16_portable(const kernels::AttentionParams& params, int64_t begin, int64_t end,
                                 float* scratch) {
  run_attention(params, begin, end, scratch);
}

}  // namespace colonnade::portable

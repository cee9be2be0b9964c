#include "simd/portable.h"

#include "kernels/depthwise/depthwise.h"

namespace colonnade::portable {
namespace {

#include "kernels/depthwise/depthwise_impl.inc"

}  // namespace

void depthwise_f32_16_portable(const kernels::DepthwiseParams& p, int64_t panel_begin,
                               int64_t panel_end, int64_t channel_begin, int64_t channel_end,
                               void* scratch) {
  run_depthwise(p, panel_begin, panel_end, channel_begin, channel_end, scratch);
}

}  // namespace colonnade::portable

#include "simd/x86_avx2.h"

#include "kernels/depthwise/depthwise.h"

namespace colonnade::avx2 {
namespace {

constexpr int kVectors = kPanel / kLanes;

#include "kernels/depthwise/depthwise_impl.inc"
#include "kernels/depthwise/flat_avx2.inc"

}  // namespace

void depthwise_f32_16_avx2(const kernels::DepthwiseParams& p, int64_t panel_begin,
                           int64_t panel_end, int64_t channel_begin, int64_t channel_end,
                           void* scratch) {
  if (fits_flat(p.shape)) {
    run_flat(p, panel_begin, panel_end, channel_begin, channel_end, scratch);
    run_epilogue(p, panel_begin, panel_end, channel_begin, channel_end);
  } else {
    run_depthwise(p, panel_begin, panel_end, channel_begin, channel_end, scratch);
  }
}

}  // namespace colonnade::avx2

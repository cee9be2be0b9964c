#include "simd/x86_avx2.h"

#include "kernels/depthwise/depthwise.h"

namespace colonnade::avx2 {
namespace {

// Elements 0, 2, 4, ... of p; reads two vectors.
inline Vec load_even(const float* p) {
  const __m256 mixed = _mm256_shuffle_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + kLanes), 0x88);
  return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8))};
}

#include "kernels/depthwise/depthwise_impl.inc"

}  // namespace

void depthwise_f32_16_avx2(const kernels::DepthwiseParams& p, int64_t panel_begin,
                      int64_t panel_end, int64_t channel_begin, int64_t channel_end,
                      void* scratch) {
  run_depthwise(p, panel_begin, panel_end, channel_begin, channel_end, scratch);
}

}  // namespace colonnade::avx2

#include "simd/x86_avx2.h"

#include "kernels/conv/blocks.h"
#include "kernels/conv/conv.h"

namespace colonnade::avx2 {
namespace {

inline constexpr int kTileRows = 6;

// Elements 0, 2, 4, ... of p; reads two vectors.
inline Vec load_even(const float* p) {
  const __m256 mixed = _mm256_shuffle_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + kLanes), 0x88);
  return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8))};
}

#include "kernels/conv/tile.inc"

#include "kernels/conv/conv_impl.inc"

}  // namespace

void conv_f32_6x16_avx2(const kernels::ConvParams& p, int64_t panel_begin, int64_t panel_end,
                 int64_t tile_begin, int64_t tile_end, void* scratch) {
  run_any_conv<false>(p, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

void conv_transpose_f32_6x16_avx2(const kernels::ConvParams& p, int64_t panel_begin, int64_t panel_end,
                           int64_t tile_begin, int64_t tile_end, void* scratch) {
  run_any_conv<true>(p, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

}  // namespace colonnade::avx2

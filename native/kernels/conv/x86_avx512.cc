#include "simd/x86_avx512.h"

#include "kernels/conv/blocks.h"
#include "kernels/conv/conv.h"

namespace colonnade::avx512 {
namespace {

inline constexpr int kTileRows = 6;

#include "kernels/conv/tile.inc"

#include "kernels/conv/conv_impl.inc"

}  // namespace

void conv_f32_6x64_avx512(const kernels::ConvParams& p, int64_t panel_begin, int64_t panel_end,
                 int64_t tile_begin, int64_t tile_end, void* scratch) {
  run_any_conv<false>(p, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

void conv_transpose_f32_6x64_avx512(const kernels::ConvParams& p, int64_t panel_begin, int64_t panel_end,
                           int64_t tile_begin, int64_t tile_end, void* scratch) {
  run_any_conv<true>(p, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

}  // namespace colonnade::avx512

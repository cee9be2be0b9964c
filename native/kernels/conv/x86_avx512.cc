#include "simd/x86_avx512.h"

#include "kernels/conv/blocks.h"
#include "kernels/conv/conv.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/conv/pack_pieces_avx512.inc"
// Extend it.
#include "kernels/conv/pack_lines_avx512.inc"
#include "kernels/conv/plan_shift.inc"
// Its packing comes first.
#include "kernels/conv/conv_impl.inc"

}  // namespace

void conv_f32_6x64_avx512(const ConvParams& params, int64_t panel_begin, int64_t panel_end,
                          int64_t tile_begin, int64_t tile_end, void* scratch) {
  run_conv<6, false>(params, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

void conv_transpose_f32_6x64_avx512(const ConvParams& params, int64_t panel_begin,
                                    int64_t panel_end, int64_t tile_begin, int64_t tile_end,
                                    void* scratch) {
  run_conv<6, true>(params, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

}  // namespace colonnade::avx512

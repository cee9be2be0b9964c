#include "simd/portable.h"

#include "kernels/conv/blocks.h"
#include "kernels/conv/conv.h"

namespace colonnade::portable {
namespace {

#include "kernels/conv/pack_runs.inc"
// Its packing comes first.
#include "kernels/conv/conv_impl.inc"

}  // namespace

void conv_f32_3x16_portable(const ConvParams& params, int64_t panel_begin, int64_t panel_end,
                            int64_t tile_begin, int64_t tile_end, void* scratch) {
  run_conv<3, false>(params, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

void conv_transpose_f32_3x16_portable(const ConvParams& params, int64_t panel_begin,
                                      int64_t panel_end, int64_t tile_begin, int64_t tile_end,
                                      void* scratch) {
  run_conv<3, true>(params, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

}  // namespace colonnade::portable

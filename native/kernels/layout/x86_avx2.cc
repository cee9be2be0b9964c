#include "simd/x86_avx2.h"

#include "kernels/layout/layout.h"

namespace colonnade::avx2 {
namespace {

#include "kernels/layout/layout_impl.inc"
#include "kernels/layout/transpose_avx2.inc"

}  // namespace

void layout_f32_16_avx2_to_panels(const LayoutParams& params, const float* rows, float* panels,
                                  int64_t panel_begin, int64_t panel_end) {
  run_to_panels(params, rows, panels, panel_begin, panel_end);
}

void layout_f32_16_avx2_from_panels(const LayoutParams& params, const float* panels, float* rows,
                                    int64_t panel_begin, int64_t panel_end) {
  run_from_panels(params, panels, rows, panel_begin, panel_end);
}

}  // namespace colonnade::avx2

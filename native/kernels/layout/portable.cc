#include "simd/portable.h"

#include "kernels/layout/layout.h"

namespace colonnade::portable {
namespace {

#include "kernels/layout/layout_impl.inc"
#include "kernels/layout/transpose_portable.inc"

}  // namespace

void layout_f32_16_portable_to_panels(const LayoutParams& params, const float* rows, float* panels,
                                      int64_t panel_begin, int64_t panel_end) {
  run_to_panels(params, rows, panels, panel_begin, panel_end);
}

void layout_f32_16_portable_from_panels(const LayoutParams& params, const float* panels,
                                        float* rows, int64_t panel_begin, int64_t panel_end) {
  run_from_panels(params, panels, rows, panel_begin, panel_end);
}

}  // namespace colonnade::portable

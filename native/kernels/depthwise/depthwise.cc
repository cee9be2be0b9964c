#include "kernels/depthwise/depthwise.h"

#include <algorithm>

namespace colonnade {

#define DEPTHWISE_ROW(name, space, isa, lanes)                                       \
  namespace space {                                                                  \
  void name(const kernels::DepthwiseParams&, int64_t panel_begin, int64_t panel_end, \
            int64_t channel_begin, int64_t channel_end, void* scratch);              \
  }
#include "kernels/depthwise/kernels.inc"
#undef DEPTHWISE_ROW

namespace kernels {
namespace {

#include "kernels/depthwise/flat_plan.inc"

// Row by row: the padded image, the output at its pitch, and vectors of slack behind both.
int64_t image_floats(const ConvShape& s, int64_t lanes) {
  const int64_t reach_h = (s.out_h - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1;
  const int64_t reach_w = (s.out_w - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
  const int64_t rows = std::max(s.pad_top + s.in_h, reach_h);
  const int64_t pitch = std::max(s.pad_left + s.in_w, reach_w);
  return rows * pitch + s.out_h * std::max(pitch, s.out_w) + 8 * lanes;
}

constexpr DepthwiseRow kRows[] = {
#define DEPTHWISE_ROW(name, space, isa, lanes) {#name, Isa::isa, lanes, &space::name},
#include "kernels/depthwise/kernels.inc"
#undef DEPTHWISE_ROW
};

}  // namespace

std::span<const DepthwiseRow> depthwise_rows() { return kRows; }

const DepthwiseRow& choose_depthwise(Isa isa, const ConvShape&) {
  const DepthwiseRow* best = &kRows[0];
  for (const DepthwiseRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

bool is_depthwise(const ConvShape& s) {
  return s.group == s.channels && s.out_channels % s.channels == 0;
}

int64_t depthwise_scratch_bytes(const DepthwiseRow& row, const ConvShape& s) {
  const int64_t lanes = row.panel_lanes;
  const int64_t flat = fits_flat(s) ? flat_floats(s, plan_flat(s, lanes), lanes) : 0;
  return 4 * std::max(flat, image_floats(s, lanes));
}

}  // namespace kernels
}  // namespace colonnade

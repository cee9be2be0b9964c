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
  // Row by row: the padded image, the output at its pitch, and vectors of slack behind both.
  const int64_t pitch = std::max(s.pad_left + s.in_w,
                                 (s.out_w - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1);
  const int64_t rows = std::max(s.pad_top + s.in_h,
                                (s.out_h - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1);
  const int64_t images = rows * pitch + s.out_h * std::max(pitch, s.out_w) + 8 * lanes;
  // Flat: every phase with slack on both sides, a row, and 2 bytes of mask per vector and tap.
  const int64_t columns = COLONNADE_FLAT_PANELS * lanes;
  const int64_t slack = (s.kernel_h * s.dilation_h + s.pad_top) * s.out_w +
                        s.kernel_w * s.dilation_w + s.pad_left + 2 * lanes;
  const int64_t phases = std::min<int64_t>(4, s.stride_h * s.stride_w) * (columns + 2 * slack);
  const int64_t masks = (columns / 16 + 1) * s.kernel_h * s.kernel_w;
  return 4 * (std::max(images, phases + s.in_w + 4 * lanes + masks) + lanes);
}

}  // namespace kernels
}  // namespace colonnade

#include "kernels/qmatmul/qmatmul.h"

#include <algorithm>

#include "kernels/conv/blocks.h"

namespace colonnade {

#define BYTE_MATMUL_ROW(name, space, isa, lanes, form, is_emulated)                                \
  namespace space {                                                                                \
  void name##_matmul(const kernels::ByteMatmulParams&, int64_t, int64_t, int64_t, int64_t, void*); \
  void name##_conv(const kernels::ByteConvParams&, int64_t, int64_t, int64_t, int64_t, void*);     \
  void name##_depthwise(const kernels::ByteConvParams&, int64_t, int64_t, int64_t, int64_t,        \
                        void*);                                                                    \
  void name##_sparse(const kernels::ByteSparseParams&, int64_t, int64_t, int64_t, int64_t, void*); \
  void name##_quantize(const kernels::ByteBorderParams&, int64_t, int64_t);                        \
  void name##_dequantize(const kernels::ByteBorderParams&, int64_t, int64_t);                      \
  }
#include "kernels/qmatmul/kernels.inc"
#undef BYTE_MATMUL_ROW

namespace kernels {
namespace {

constexpr ByteMatmulRow kRows[] = {
#define BYTE_MATMUL_ROW(name, space, isa, lanes, form, is_emulated) \
  {#name,                                                           \
   Isa::isa,                                                        \
   lanes,                                                           \
   ByteWeightForm::form,                                            \
   is_emulated,                                                     \
   &space::name##_matmul,                                           \
   &space::name##_conv,                                             \
   &space::name##_depthwise,                                        \
   &space::name##_sparse,                                           \
   &space::name##_quantize,                                         \
   &space::name##_dequantize},
#include "kernels/qmatmul/kernels.inc"
#undef BYTE_MATMUL_ROW
};

// float rows of four tiles that an epilogue works on before they become bytes.
constexpr int64_t kStagedRows = 4 * kByteTile;

}  // namespace

std::span<const ByteMatmulRow> byte_matmul_rows() { return kRows; }

const ByteMatmulRow& choose_byte_matmul(Isa isa) {
  const ByteMatmulRow* best = &kRows[0];
  for (const ByteMatmulRow& row : kRows) {
    if (row.isa <= isa && !row.is_emulated) best = &row;
  }
  return *best;
}

bool has_byte_conv(const ConvShape& s) {
  const int64_t channels = s.channels / s.group, outs = s.out_channels / s.group;
  const bool is_whole = channels % kByteGroup == 0 && outs % kByteTile == 0;
  return (s.group == 1 || is_whole) && channels * s.kernel_h * s.kernel_w <= kByteDepthMax;
}

bool has_byte_depthwise(const ConvShape& s) {
  const bool is_small = (s.kernel_h - 1) * s.dilation_h < kByteSpanRows &&
                        (s.kernel_w - 1) * s.dilation_w < kByteSpanColumns &&
                        std::max(s.stride_h, s.stride_w) <= kByteStrideMax;
  return s.group == s.channels && s.channels == s.out_channels && is_small &&
         s.kernel_h * s.kernel_w <= kByteDepthMax;
}

BytePlane byte_plane(const ConvShape& s, int64_t panel_lanes) {
  const int64_t out_rows = std::min(s.out_h, kByteChunkColumns / s.out_w + 2);
  const int64_t out_columns = std::min(s.out_w, kByteChunkColumns);
  const int64_t rows = (out_rows - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1;
  const int64_t columns = (out_columns - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
  const int64_t row_lanes = (columns + s.stride_w - 1) / s.stride_w;
  // Vectors end behind the last row.
  return {row_lanes, rows * row_lanes + panel_lanes, columns + 3 * panel_lanes};
}

int64_t byte_chunk_lanes(int64_t panel_lanes) {
  return kStagedRows * (kByteChunkColumns / 4 + panel_lanes);
}

int64_t byte_matmul_scratch_bytes(int64_t panel_lanes) { return kStagedRows * panel_lanes * 4; }

int64_t byte_conv_scratch_bytes(const ConvShape& s, int64_t panel_lanes) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t rows = byte_groups(s.channels / s.group) * taps;
  const int64_t plan = std::min(taps, kConvPlannedTaps) * panel_lanes * kConvRunBytes;
  return byte_matmul_scratch_bytes(panel_lanes) + rows * panel_lanes * 4 + plan;
}

int64_t byte_depthwise_scratch_bytes(const ConvShape& s, int64_t panel_lanes) {
  const BytePlane plane = byte_plane(s, panel_lanes);
  const int64_t taps = byte_groups(s.kernel_h * s.kernel_w) * 12;  // Offsets and wide weights.
  const int64_t lanes =
      byte_chunk_lanes(panel_lanes) + taps + plane.line_lanes + s.stride_w * plane.lanes;
  return byte_matmul_scratch_bytes(panel_lanes) + 4 * lanes;
}

int64_t byte_sparse_scratch_bytes(const ConvShape* shape, int64_t panel_lanes) {
  const int64_t sums = kSparseRowBlock * panel_lanes * 4;
  return sums + (shape == nullptr ? byte_matmul_scratch_bytes(panel_lanes)
                                  : byte_conv_scratch_bytes(*shape, panel_lanes));
}

}  // namespace kernels
}  // namespace colonnade

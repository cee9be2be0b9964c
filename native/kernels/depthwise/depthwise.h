// Depthwise fp32 convolution on column panels: every input channel makes `multiplier` outputs.
//
//   y[c * multiplier + q, n, oh, ow] = clamp(bias + sum over i, j of
//       w[c * multiplier + q, i, j] * x[c, n, oh * stride_h - pad_top + i * dilation_h, ...], lo,
//       hi)
//
// Columns and padding as in conv.h. w is ONNX order [channels * multiplier][kernel_h][kernel_w],
// used as it is. For each channel the kernel copies what a range of panels needs into scratch,
// where every tap is a plain load, then sums taps: depthwise_impl.inc, and with "same" padding on
// AVX2 and AVX-512 flat_plan.inc. It reads no input row that none of its windows covers:
// a window of panels (exec/stripe.h) may hold only those. Any split gives the same bits. Buffers as
// in matmul.h; panels are aligned as floats are, and nothing outside of them is read.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "kernels/conv/conv.h"

// Panels of one chunk of the flat kernel at stride 1: 32 panels of 64 lanes are 8 KB a channel, and
// stay in L1 with their halo.
#define COLONNADE_FLAT_PANELS 32

namespace colonnade::kernels {

struct DepthwiseParams {
  ConvShape shape;  // group == channels; out_channels == channels * multiplier.
  const float* w;
  const float* bias;  // [out_channels], or null.
  const float* x;
  float* y;
  int64_t x_panel_stride;
  int64_t y_panel_stride;
  float lo;
  float hi;
  PanelEpilogue epilogue;  // Or null.
  void* epilogue_context;
};

struct DepthwiseRow {
  const char* name;
  Isa isa;
  int32_t panel_lanes;
  // Computes output panels [panel_begin, panel_end) of input channels [channel_begin, channel_end).
  // Wide panel ranges copy less halo. `scratch`: depthwise_scratch_bytes(row, shape), 64-byte
  // aligned, private to the thread.
  void (*run)(const DepthwiseParams&, int64_t panel_begin, int64_t panel_end, int64_t channel_begin,
              int64_t channel_end, void* scratch);
};

std::span<const DepthwiseRow> depthwise_rows();
const DepthwiseRow& choose_depthwise(Isa isa, const ConvShape& shape);
bool is_depthwise(const ConvShape& shape);
int64_t depthwise_scratch_bytes(const DepthwiseRow& row, const ConvShape& shape);

}  // namespace colonnade::kernels

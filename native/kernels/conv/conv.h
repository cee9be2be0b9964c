// Dense fp32 convolution and transposed convolution on column panels.
//
// x: `channels` features, columns l = (n * in_h + ih) * in_w + iw. y: `out_channels` features,
// columns l = (n * out_h + oh) * out_w + ow. 1-D is in_h = kernel_h = 1.
//
//   conv        y[o, n, oh, ow] = clamp(bias[o] + residual[o, n, oh, ow] + sum over c, i, j of
//                   w[o, c, i, j] * x[c, n, ih, iw]),
//               ih = oh * stride_h - pad_top + i * dilation_h, iw likewise
//   transposed  the adjoint: w[c, o, i, j] * x[c, n, ih, iw] is added to y[o, n, oh, ow],
//               oh = ih * stride_h - pad_top + i * dilation_h, ow likewise
//
// Positions outside the image count as zero. Groups split channels and out_channels evenly. Bottom
// and right padding (and output_padding) are implied by out_h and out_w.
// Convolution is an implicit matrix product: for each output panel, a block of input channels and
// taps is packed into scratch and multiplied by the packed weights with matmul's register tile.
// Sums run in one fixed order, so any split gives the same bits. Buffers as in matmul.h.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "kernels/matmul/matmul.h"

namespace colonnade::kernels {

struct ConvShape {
  int64_t batch;
  int64_t channels;
  int64_t in_h;
  int64_t in_w;
  int64_t out_channels;
  int64_t out_h;
  int64_t out_w;
  int64_t kernel_h;
  int64_t kernel_w;
  int64_t stride_h;
  int64_t stride_w;
  int64_t dilation_h;
  int64_t dilation_w;
  int64_t pad_top;
  int64_t pad_left;
  int64_t group;
};

struct ConvParams {
  ConvShape shape;
  const float* w;     // Packed by pack_conv_weights for the same row.
  const float* bias;  // [out_channels], or null.
  const float* x;
  float* y;
  const float* residual;  // Panels like y, or null.
  int64_t x_panel_stride;
  int64_t y_panel_stride;
  int64_t residual_panel_stride;
  float lo;
  float hi;
  PanelEpilogue epilogue;  // Or null. As in matmul.h, m0 and m1 being output channels.
  void* epilogue_context;
  // What is packed for positions outside of the image: zero, or 32 bits of whoever shares the
  // packing.
  float fill;
};

struct ConvRow {
  const char* name;
  Isa isa;
  int32_t tile_rows;
  int32_t tile_vectors;
  int32_t panel_lanes;
  // Computes output panels [panel_begin, panel_end) x row tiles [tile_begin, tile_end); there are
  // conv_tiles(shape, tile_rows) row tiles. `scratch`: conv_scratch_bytes(row, shape), 64-byte
  // aligned, private to the thread.
  void (*run)(const ConvParams&, int64_t panel_begin, int64_t panel_end, int64_t tile_begin,
              int64_t tile_end, void* scratch);
};

std::span<const ConvRow> conv_rows();
const ConvRow& choose_conv(Isa isa, const ConvShape& shape);

// A conv whose columns are its input's columns: run it as matmul (per group if grouped).
bool is_pointwise(const ConvShape& shape);
// Row tiles over all groups: group * ceil(out_channels / group / tile_rows).
int64_t conv_tiles(const ConvShape& shape, int32_t tile_rows);
int64_t conv_scratch_bytes(const ConvRow& row, const ConvShape& shape);

// w: ONNX order [out_channels][channels / group][kernel_h][kernel_w]. Packed takes as many floats.
// The packed order depends on channels, out_channels, kernel and group only, not on the image.
void pack_conv_weights(const float* w, const ConvShape& shape, const ConvRow& row, float* packed);
void unpack_conv_weights(const float* packed, const ConvShape& shape, const ConvRow& row, float* w);

// Transposed convolution: the same params and split, `conv_transpose` rows.
std::span<const ConvRow> conv_transpose_rows();
const ConvRow& choose_conv_transpose(Isa isa, const ConvShape& shape);
int64_t conv_transpose_scratch_bytes(const ConvRow& row, const ConvShape& shape);
// w: ONNX order [channels][out_channels / group][kernel_h][kernel_w].
void pack_conv_transpose_weights(const float* w, const ConvShape& shape, const ConvRow& row,
                                 float* packed);
void unpack_conv_transpose_weights(const float* packed, const ConvShape& shape, const ConvRow& row,
                                   float* w);

}  // namespace colonnade::kernels

// The geometry of a convolution in a call's parameters, and its operands' sizes: shared by the
// adapters of dense, depthwise and sparse convolutions.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/epilogue.h"
#include "kernels/conv/conv.h"

namespace colonnade::exec {

// Reads the 16 numbers of a ConvShape, unchecked.
kernels::ConvShape read_conv_shape(ParamReader& in);

// Empty, or what is out of range. After this, positions of taps cannot overflow.
std::string check_conv_shape(const kernels::ConvShape& s, bool is_transposed);

// Checks the operands x, w (at least `weights` floats), bias, residual, y; fills the panel strides
// of x and y. Empty, or what is wrong.
template <typename Params>
std::string check_conv_operands(std::span<const OperandInfo> o, int64_t weights, int64_t lanes,
                                Params& p) {
  constexpr size_t kOperands = 5;
  const kernels::ConvShape& s = p.shape;
  if (o.size() < kOperands) return "convolution takes at least 5 operands";
  const int64_t in_columns = checked_product({s.batch, s.in_h, s.in_w});
  const int64_t out_columns = checked_product({s.batch, s.out_h, s.out_w});
  if (in_columns < 0 || out_columns < 0) return "convolution is too large";
  if (!holds_floats(o[0], panel_floats(s.channels, in_columns, lanes))) return "x is too small";
  if (!holds_floats(o[1], weights)) return "w is too small";
  if (!holds_floats_or_absent(o[2], s.out_channels)) return "bias is too small";
  const int64_t y_floats = panel_floats(s.out_channels, out_columns, lanes);
  if (!holds_floats_or_absent(o[3], y_floats)) return "residual is too small";
  if (!holds_floats(o[4], y_floats)) return "y is too small";
  p.x_panel_stride = s.channels * lanes;
  p.y_panel_stride = s.out_channels * lanes;
  return "";
}

// How a convolution over panels uses its operands; `epilogue`: those behind the common five.
void set_conv_uses(const kernels::ConvShape& s, int64_t lanes, const Epilogue& epilogue,
                   Prepared& prepared);

}  // namespace colonnade::exec

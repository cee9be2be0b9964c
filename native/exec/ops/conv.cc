// Adapters of the convolution families: conv, conv_transpose, depthwise.
#include "kernels/conv/conv.h"

#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/conv_shape.h"
#include "exec/ops/epilogue.h"
#include "exec/ops/grid.h"
#include "kernels/depthwise/depthwise.h"

namespace colonnade::exec {
namespace {

using kernels::ConvParams;
using kernels::ConvRow;
using kernels::ConvShape;
using kernels::DepthwiseParams;
using kernels::DepthwiseRow;

// Operands x, w, bias, residual, y, extras...
constexpr size_t kConvOperands = 5;

int64_t round_to_line(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// ---- conv, conv_transpose. params: row, shape (16), blocks, lo, hi, epilogue.
struct Conv {
  const ConvRow* row;
  ConvParams conv;
  int64_t panels;
  int64_t tiles;
  int64_t blocks;
  int64_t conv_scratch;
  Epilogue epilogue;
};

std::string prepare_any_conv(PrepareContext& context, Prepared& prepared, bool transposed) {
  auto p = std::make_shared<Conv>();
  ParamReader& in = context.params;
  const auto rows = transposed ? kernels::conv_transpose_rows() : kernels::conv_rows();
  const int64_t number = in.integer();
  if (number < 0 || number >= static_cast<int64_t>(rows.size())) return "no such conv kernel";
  p->row = &rows[static_cast<size_t>(number)];
  if (p->row->isa > context.isa) return "the conv kernel needs another instruction set";
  ConvParams& conv = p->conv;
  conv = {};
  conv.shape = read_conv_shape(in);
  p->blocks = in.integer();
  conv.lo = in.real32();
  conv.hi = in.real32();
  const ConvShape& s = conv.shape;
  if (std::string error = check_conv_shape(s, transposed); !error.empty()) return error;
  const int64_t lanes = p->row->panel_lanes;
  const int64_t weights = checked_product({transposed ? s.channels : s.out_channels,
                                           (transposed ? s.out_channels : s.channels) / s.group,
                                           s.kernel_h, s.kernel_w});
  std::string error = check_conv_operands(context.operands, weights, lanes, conv);
  if (!error.empty()) return error;
  conv.residual_panel_stride = conv.y_panel_stride;
  p->panels = ceil_div(s.batch * s.out_h * s.out_w, lanes);
  p->tiles = kernels::conv_tiles(s, p->row->tile_rows);
  if (p->blocks < 1 || p->blocks > p->tiles) return "blocks out of range";
  const EpilogueShape shape{s.out_channels, p->panels, lanes, context.isa};
  error = prepare_epilogue(in, context.operands.subspan(kConvOperands), shape, p->epilogue);
  if (!error.empty()) return error;
  p->conv_scratch = round_to_line(transposed ? kernels::conv_transpose_scratch_bytes(*p->row, s)
                                             : kernels::conv_scratch_bytes(*p->row, s));
  prepared.units = p->panels * p->blocks;
  prepared.units_per_panel = p->blocks == 1 ? 1 : 0;
  if (!transposed) set_conv_uses(s, lanes, p->epilogue, prepared);
  prepared.scratch_bytes = p->conv_scratch + p->epilogue.scratch_bytes;
  prepared.params = std::move(p);
  return "";
}

std::string prepare_conv(PrepareContext& context, Prepared& prepared) {
  return prepare_any_conv(context, prepared, false);
}

std::string prepare_conv_transpose(PrepareContext& context, Prepared& prepared) {
  return prepare_any_conv(context, prepared, true);
}

RunStatus run_conv(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Conv*>(params);
  ConvParams conv = p.conv;
  conv.x = as<float>(context, 0);
  conv.w = as<float>(context, 1);
  conv.bias = as<float>(context, 2);
  conv.residual = as<float>(context, 3);
  conv.y = as_mutable<float>(context, 4);
  EpilogueRun epilogue{&p.epilogue, context.operands + kConvOperands,
                       context.scratch + p.conv_scratch};
  conv.epilogue = p.epilogue.empty() ? nullptr : &EpilogueRun::run;
  conv.epilogue_context = &epilogue;
  for_each_band(context.begin, context.end, p.panels, [&](int64_t block, int64_t p0, int64_t p1) {
    p.row->run(conv, p0, p1, part_begin(p.tiles, p.blocks, block),
               part_begin(p.tiles, p.blocks, block + 1), context.scratch);
  });
  return {};
}

// A thread holds one channel of an image with its padding.
bool is_padded_image_small(const ConvShape& s) {
  constexpr int64_t kMaxFloats = int64_t{1} << 40;
  const int64_t rows = s.pad_top + s.in_h + s.out_h * s.stride_h + s.kernel_h * s.dilation_h;
  const int64_t columns = s.pad_left + s.in_w + s.out_w * s.stride_w + s.kernel_w * s.dilation_w;
  const int64_t floats = checked_product({rows, columns});
  return floats >= 0 && floats <= kMaxFloats;
}

// ---- depthwise. params: row, shape (16), blocks (of input channels), lo, hi, epilogue. Units:
// blocks x stripes of panels.
struct Depthwise {
  const DepthwiseRow* row;
  DepthwiseParams conv;
  int64_t panels;
  int64_t stripes;
  int64_t stripe_panels;
  int64_t blocks;
  int64_t conv_scratch;
  Epilogue epilogue;
};

std::string prepare_depthwise(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Depthwise>();
  ParamReader& in = context.params;
  const auto rows = kernels::depthwise_rows();
  const int64_t number = in.integer();
  if (number < 0 || number >= static_cast<int64_t>(rows.size())) return "no such depthwise kernel";
  p->row = &rows[static_cast<size_t>(number)];
  if (p->row->isa > context.isa) return "the depthwise kernel needs another instruction set";
  DepthwiseParams& conv = p->conv;
  conv = {};
  conv.shape = read_conv_shape(in);
  p->blocks = in.integer();
  p->stripe_panels = in.integer();
  conv.lo = in.real32();
  conv.hi = in.real32();
  const ConvShape& s = conv.shape;
  if (std::string error = check_conv_shape(s, false); !error.empty()) return error;
  if (!kernels::is_depthwise(s)) return "not a depthwise convolution";
  if (!is_padded_image_small(s)) return "convolution is too large";
  const int64_t lanes = p->row->panel_lanes;
  const int64_t weights = checked_product({s.out_channels, s.kernel_h, s.kernel_w});
  std::string error = check_conv_operands(context.operands, weights, lanes, conv);
  if (!error.empty()) return error;
  if (context.operands[3].present()) return "depthwise takes its residual in the epilogue";
  p->panels = ceil_div(s.batch * s.out_h * s.out_w, lanes);
  if (p->stripe_panels < 1) return "stripes out of range";
  p->stripes = ceil_div(p->panels, p->stripe_panels);
  if (p->blocks < 1 || p->blocks > s.channels) return "blocks out of range";
  const EpilogueShape shape{s.out_channels, p->panels, lanes, context.isa};
  error = prepare_epilogue(in, context.operands.subspan(kConvOperands), shape, p->epilogue);
  if (!error.empty()) return error;
  p->conv_scratch = round_to_line(kernels::depthwise_scratch_bytes(*p->row, s));
  prepared.units = p->stripes * p->blocks;
  prepared.units_per_panel = p->blocks == 1 && p->stripe_panels == 1 ? 1 : 0;
  set_conv_uses(s, lanes, p->epilogue, prepared);
  prepared.scratch_bytes = p->conv_scratch + p->epilogue.scratch_bytes;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_depthwise(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Depthwise*>(params);
  DepthwiseParams conv = p.conv;
  conv.x = as<float>(context, 0);
  conv.w = as<float>(context, 1);
  conv.bias = as<float>(context, 2);
  conv.y = as_mutable<float>(context, 4);
  EpilogueRun epilogue{&p.epilogue, context.operands + kConvOperands,
                       context.scratch + p.conv_scratch};
  conv.epilogue = p.epilogue.empty() ? nullptr : &EpilogueRun::run;
  conv.epilogue_context = &epilogue;
  const int64_t channels = conv.shape.channels;
  for_each_band(context.begin, context.end, p.stripes, [&](int64_t block, int64_t s0, int64_t s1) {
    p.row->run(conv, s0 * p.stripe_panels, std::min(s1 * p.stripe_panels, p.panels),
               part_begin(channels, p.blocks, block), part_begin(channels, p.blocks, block + 1),
               context.scratch);
  });
  return {};
}

constexpr Op kOps[] = {
    {"conv", &prepare_conv, &run_conv, {4, 1}},
    {"conv_transpose", &prepare_conv_transpose, &run_conv, {4, 1}},
    {"depthwise", &prepare_depthwise, &run_depthwise, {4, 1}},
};

}  // namespace

std::span<const Op> conv_ops() { return kOps; }

}  // namespace colonnade::exec

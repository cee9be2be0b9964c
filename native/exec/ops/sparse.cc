// Adapters of the sparse_matmul family: operands and epilogues as in matmul.cc and conv.cc.
#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/conv_shape.h"
#include "exec/ops/epilogue.h"
#include "exec/ops/grid.h"
#include "kernels/sparse_matmul/sparse_matmul.h"

namespace colonnade::exec {
namespace {

using kernels::SparseConvParams;
using kernels::SparseConvRow;
using kernels::SparseGeometry;
using kernels::SparseMatmulParams;
using kernels::SparseMatmulRow;

// Operands x, w, bias, residual, y, extras...
constexpr size_t kOperands = 5;
constexpr int64_t kMaxExtent = int64_t{1} << 31;

template <typename Row>
const Row* find_row(std::span<const Row> rows, int64_t number, Isa isa) {
  if (number < 0 || number >= static_cast<int64_t>(rows.size())) return nullptr;
  const Row& row = rows[static_cast<size_t>(number)];
  return row.isa <= isa ? &row : nullptr;
}

std::string check_weights(const OperandInfo& operand, const SparseGeometry& g, int32_t tile_rows,
                          int32_t lanes) {
  if (!operand.present() || operand.data == nullptr) return "w is not a constant";
  if (g.k_block < 1) return "depth block out of range";
  if (checked_product({g.groups, g.m, g.k}) < 0) return "weights are too large";
  const char* error = kernels::verify_sparse_weights(
      {operand.data, static_cast<size_t>(operand.bytes)}, g, tile_rows, lanes);
  return error == nullptr ? "" : error;
}

// ---- sparse_columns. params: row, m, k, l, k_block, blocks, lo, hi, epilogue.
struct SparseColumns {
  const SparseMatmulRow* row;
  SparseMatmulParams matmul;
  int64_t panels;
  int64_t blocks;
  Epilogue epilogue;
};

std::string prepare_columns(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<SparseColumns>();
  ParamReader& in = context.params;
  p->row = find_row(kernels::sparse_matmul_rows(), in.integer(), context.isa);
  if (p->row == nullptr) return "no such sparse kernel on this instruction set";
  SparseMatmulParams& mm = p->matmul;
  mm = {};
  SparseGeometry& g = mm.geometry;
  g.groups = 1;
  g.m = in.integer();
  g.k = in.integer();
  mm.l = in.integer();
  g.k_block = in.integer();
  p->blocks = in.integer();
  mm.lo = in.real32();
  mm.hi = in.real32();
  const int64_t lanes = p->row->panel_lanes;
  const auto& o = context.operands;
  if (o.size() < kOperands) return "a sparse product takes at least 5 operands";
  if (g.m < 1 || g.k < 1 || mm.l < 1) return "sparse product sizes out of range";
  if (g.m > kMaxExtent || g.k > kMaxExtent) return "sparse product sizes out of range";
  if (!holds_floats(o[0], panel_floats(g.k, mm.l, lanes))) return "x is too small";
  if (!holds_floats_or_absent(o[2], g.m)) return "bias is too small";
  if (!holds_floats_or_absent(o[3], panel_floats(g.m, mm.l, lanes))) return "residual is too small";
  if (!holds_floats(o[4], panel_floats(g.m, mm.l, lanes))) return "y is too small";
  std::string error = check_weights(o[1], g, p->row->tile_rows, p->row->panel_lanes);
  if (!error.empty()) return error;
  p->panels = ceil_div(mm.l, lanes);
  if (p->blocks < 1 || p->blocks > g.tiles()) return "blocks out of range";
  mm.x_panel_stride = g.k * lanes;
  mm.y_panel_stride = mm.residual_panel_stride = g.m * lanes;
  const EpilogueShape shape{g.m, p->panels, lanes, context.isa};
  error = prepare_epilogue(in, o.subspan(kOperands), shape, p->epilogue);
  if (!error.empty()) return error;
  prepared.units = p->panels * p->blocks;
  prepared.units_per_panel = p->blocks == 1 ? 1 : 0;
  prepared.scratch_bytes = p->epilogue.scratch_bytes;
  prepared.uses = {read_same(g.k * lanes), {}, {}, read_same(g.m * lanes), write_same(g.m * lanes)};
  add_extra_uses(p->epilogue, prepared.uses);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_columns(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const SparseColumns*>(params);
  SparseMatmulParams mm = p.matmul;
  mm.x = as<float>(context, 0);
  mm.w = as<std::byte>(context, 1);
  mm.bias = as<float>(context, 2);
  mm.residual = as<float>(context, 3);
  mm.y = as_mutable<float>(context, 4);
  EpilogueRun epilogue{&p.epilogue, context.operands + kOperands, context.scratch};
  mm.epilogue = p.epilogue.empty() ? nullptr : &EpilogueRun::run;
  mm.epilogue_context = &epilogue;
  const int64_t tiles = mm.geometry.tiles();
  for_each_band(context.begin, context.end, p.panels, [&](int64_t block, int64_t p0, int64_t p1) {
    p.row->run(mm, p0, p1, part_begin(tiles, p.blocks, block),
               part_begin(tiles, p.blocks, block + 1));
  });
  return {};
}

// ---- sparse_conv. params: row, shape (16), block_channels, blocks, lo, hi, epilogue.
struct SparseConv {
  const SparseConvRow* row;
  SparseConvParams params;
  int64_t panels;
  int64_t blocks;
  int64_t conv_scratch;
  Epilogue epilogue;
};

std::string prepare_conv(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<SparseConv>();
  ParamReader& in = context.params;
  p->row = find_row(kernels::sparse_conv_rows(), in.integer(), context.isa);
  if (p->row == nullptr) return "no such sparse kernel on this instruction set";
  p->params = {};
  kernels::ConvParams& conv = p->params.conv;
  conv.shape = read_conv_shape(in);
  p->params.block_channels = in.integer();
  p->blocks = in.integer();
  conv.lo = in.real32();
  conv.hi = in.real32();
  const kernels::ConvShape& s = conv.shape;
  if (std::string error = check_conv_shape(s, false); !error.empty()) return error;
  const int64_t taps = checked_product({s.kernel_h, s.kernel_w});
  const int64_t depth = checked_product({s.channels / s.group, taps});
  const int64_t k_block = checked_product({p->params.block_channels, taps});
  if (depth < 1 || k_block < 1) return "depth block out of range";
  SparseGeometry& g = p->params.geometry;
  g = {s.group, s.out_channels / s.group, depth, k_block};
  const int64_t lanes = p->row->panel_lanes;
  std::string error = check_conv_operands(context.operands, 0, lanes, conv);
  if (!error.empty()) return error;
  error = check_weights(context.operands[1], g, p->row->tile_rows, p->row->panel_lanes);
  if (!error.empty()) return error;
  conv.residual_panel_stride = conv.y_panel_stride;
  p->panels = ceil_div(s.batch * s.out_h * s.out_w, lanes);
  if (p->blocks < 1 || p->blocks > g.tiles()) return "blocks out of range";
  const EpilogueShape shape{s.out_channels, p->panels, lanes, context.isa};
  error = prepare_epilogue(in, context.operands.subspan(kOperands), shape, p->epilogue);
  if (!error.empty()) return error;
  p->conv_scratch = (kernels::sparse_conv_scratch_bytes(*p->row, p->params) + 63) / 64 * 64;
  prepared.units = p->panels * p->blocks;
  prepared.units_per_panel = p->blocks == 1 ? 1 : 0;
  prepared.scratch_bytes = p->conv_scratch + p->epilogue.scratch_bytes;
  set_conv_uses(s, lanes, p->epilogue, prepared);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_conv(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const SparseConv*>(params);
  SparseConvParams conv = p.params;
  conv.conv.x = as<float>(context, 0);
  conv.w = as<std::byte>(context, 1);
  conv.conv.bias = as<float>(context, 2);
  conv.conv.residual = as<float>(context, 3);
  conv.conv.y = as_mutable<float>(context, 4);
  EpilogueRun epilogue{&p.epilogue, context.operands + kOperands, context.scratch + p.conv_scratch};
  conv.conv.epilogue = p.epilogue.empty() ? nullptr : &EpilogueRun::run;
  conv.conv.epilogue_context = &epilogue;
  const int64_t tiles = conv.geometry.tiles();
  for_each_band(context.begin, context.end, p.panels, [&](int64_t block, int64_t p0, int64_t p1) {
    p.row->run(conv, p0, p1, part_begin(tiles, p.blocks, block),
               part_begin(tiles, p.blocks, block + 1), context.scratch);
  });
  return {};
}

constexpr Op kOps[] = {
    {"sparse_columns", &prepare_columns, &run_columns, {4, 1}},
    {"sparse_conv", &prepare_conv, &run_conv, {4, 1}},
};

}  // namespace

std::span<const Op> sparse_ops() { return kOps; }

}  // namespace colonnade::exec

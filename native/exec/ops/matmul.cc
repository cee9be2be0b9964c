// Adapters of the matmul family.
#include "kernels/matmul/matmul.h"

#include <vector>

#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/epilogue.h"
#include "exec/ops/grid.h"

namespace colonnade::exec {
namespace {

using kernels::GeneralMatmulParams;
using kernels::GeneralMatmulRow;
using kernels::MatmulParams;
using kernels::MatmulRow;
using kernels::RowsMatmulParams;
using kernels::RowsMatmulRow;

template <typename Row>
const Row* find_row(std::span<const Row> rows, int64_t number, Isa isa) {
  if (number < 0 || number >= static_cast<int64_t>(rows.size())) return nullptr;
  const Row& row = rows[static_cast<size_t>(number)];
  return row.isa <= isa ? &row : nullptr;
}

// ---- matmul_columns: operands x, w, bias, residual, y, extras...
// params: row, m, k, l, blocks, lo, hi, epilogue.
constexpr size_t kColumnsOperands = 5;

struct Columns {
  const MatmulRow* row;
  MatmulParams matmul;
  int64_t panels;
  int64_t tiles;
  int64_t blocks;
  Epilogue epilogue;
};

std::string prepare_columns(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Columns>();
  ParamReader& in = context.params;
  p->row = find_row(kernels::matmul_rows(), in.integer(), context.isa);
  if (p->row == nullptr) return "no such matmul kernel on this instruction set";
  MatmulParams& mm = p->matmul;
  mm = {};
  mm.m = in.integer();
  mm.k = in.integer();
  mm.l = in.integer();
  p->blocks = in.integer();
  mm.lo = in.real32();
  mm.hi = in.real32();
  const int64_t lanes = p->row->panel_lanes;
  if (context.operands.size() < kColumnsOperands) return "matmul takes at least 5 operands";
  const auto& o = context.operands;
  if (mm.m < 1 || mm.k < 0 || mm.l < 1) return "matmul sizes out of range";
  if (!holds_floats(o[0], panel_floats(mm.k, mm.l, lanes))) return "x is too small";
  if (!holds_floats(o[1], checked_product({mm.m, mm.k}))) return "w is too small";
  if (!holds_floats_or_absent(o[2], mm.m)) return "bias is too small";
  if (!holds_floats_or_absent(o[3], panel_floats(mm.m, mm.l, lanes)))
    return "residual is too small";
  if (!holds_floats(o[4], panel_floats(mm.m, mm.l, lanes))) return "y is too small";
  p->panels = ceil_div(mm.l, lanes);
  p->tiles = ceil_div(mm.m, p->row->tile_rows);
  if (p->blocks < 1 || p->blocks > p->tiles) return "blocks out of range";
  mm.x_panel_stride = mm.k * lanes;
  mm.y_panel_stride = mm.residual_panel_stride = mm.m * lanes;
  const EpilogueShape shape{mm.m, p->panels, lanes, context.isa};
  const std::string error = prepare_epilogue(in, o.subspan(kColumnsOperands), shape, p->epilogue);
  if (!error.empty()) return error;
  prepared.units = p->panels * p->blocks;
  prepared.units_per_panel = p->blocks == 1 ? 1 : 0;
  prepared.scratch_bytes = p->epilogue.scratch_bytes;
  prepared.uses = {
      read_same(mm.k * lanes), {}, {}, read_same(mm.m * lanes), write_same(mm.m * lanes)};
  add_extra_uses(p->epilogue, prepared.uses);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_columns(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Columns*>(params);
  MatmulParams mm = p.matmul;
  mm.x = as<float>(context, 0);
  mm.w = as<float>(context, 1);
  mm.bias = as<float>(context, 2);
  mm.residual = as<float>(context, 3);
  mm.y = as_mutable<float>(context, 4);
  EpilogueRun epilogue{&p.epilogue, context.operands + kColumnsOperands, context.scratch};
  mm.epilogue = p.epilogue.empty() ? nullptr : &EpilogueRun::run;
  mm.epilogue_context = &epilogue;
  for_each_band(context.begin, context.end, p.panels, [&](int64_t block, int64_t p0, int64_t p1) {
    p.row->run(mm, p0, p1, part_begin(p.tiles, p.blocks, block),
               part_begin(p.tiles, p.blocks, block + 1));
  });
  return {};
}

// ---- matmul_rows: operands x, w, bias, y. params: row, l, m, k, blocks, lo, hi. Units: tile
// blocks x rows, so that few rows of a wide layer still use every thread.
struct Rows {
  const RowsMatmulRow* row;
  RowsMatmulParams matmul;
  int64_t tiles;
  int64_t blocks;
};

std::string prepare_rows(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Rows>();
  ParamReader& in = context.params;
  p->row = find_row(kernels::rows_matmul_rows(), in.integer(), context.isa);
  if (p->row == nullptr) return "no such matmul kernel on this instruction set";
  RowsMatmulParams& mm = p->matmul;
  mm = {};
  mm.l = in.integer();
  mm.m = in.integer();
  mm.k = in.integer();
  p->blocks = in.integer();
  mm.lo = in.real32();
  mm.hi = in.real32();
  const auto& o = context.operands;
  if (o.size() != 4) return "matmul_rows takes 4 operands";
  if (mm.l < 1 || mm.m < 1 || mm.k < 0) return "matmul sizes out of range";
  if (checked_product({mm.m, mm.k}) < 0) return "weights are too large";
  if (!holds_floats(o[0], checked_product({mm.l, mm.k}))) return "x is too small";
  if (!holds_floats(o[1], kernels::rows_packed_floats(mm.m, mm.k, p->row->tile_lanes))) {
    return "w is too small";
  }
  if (!holds_floats_or_absent(o[2], mm.m)) return "bias is too small";
  if (!holds_floats(o[3], checked_product({mm.l, mm.m}))) return "y is too small";
  mm.x_stride = mm.k;
  mm.y_stride = mm.m;
  p->tiles = ceil_div(mm.m, p->row->tile_lanes);
  if (p->blocks < 1 || p->blocks > p->tiles) return "blocks out of range";
  const int64_t row_groups = ceil_div(mm.l, p->row->tile_rows);
  prepared.units = p->blocks * row_groups;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_rows(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Rows*>(params);
  RowsMatmulParams mm = p.matmul;
  mm.x = as<float>(context, 0);
  mm.w = as<float>(context, 1);
  mm.bias = as<float>(context, 2);
  mm.y = as_mutable<float>(context, 3);
  const int64_t group = p.row->tile_rows;
  const int64_t groups = ceil_div(mm.l, group);
  for_each_band(context.begin, context.end, groups, [&](int64_t block, int64_t g0, int64_t g1) {
    p.row->run(mm, g0 * group, std::min(g1 * group, mm.l), part_begin(p.tiles, p.blocks, block),
               part_begin(p.tiles, p.blocks, block + 1));
  });
  return {};
}

// ---- matmul_general: operands a, b, c. params: row, m, n, k, scale, a strides (m, k), b strides
// (k, n), batch offsets of a, of b (tuples of equal length, in floats). c is [batch][m][n].
struct General {
  const GeneralMatmulRow* row;
  GeneralMatmulParams matmul;
  std::vector<int64_t> a_offsets;
  std::vector<int64_t> b_offsets;
  int64_t row_blocks;
};

// Rows of c in one unit: enough that packing b once per unit is small beside the product.
constexpr int64_t kRowsPerUnit = 96;

std::string prepare_general(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<General>();
  ParamReader& in = context.params;
  p->row = find_row(kernels::general_matmul_rows(), in.integer(), context.isa);
  if (p->row == nullptr) return "no such matmul kernel on this instruction set";
  GeneralMatmulParams& mm = p->matmul;
  mm = {};
  mm.m = in.integer();
  mm.n = in.integer();
  mm.k = in.integer();
  mm.scale = in.real32();
  mm.a_stride_m = in.integer();
  mm.a_stride_k = in.integer();
  mm.b_stride_k = in.integer();
  mm.b_stride_n = in.integer();
  mm.c_stride_m = mm.n;
  for (const int64_t offset : in.list()) p->a_offsets.push_back(offset);
  for (const int64_t offset : in.list()) p->b_offsets.push_back(offset);
  const auto& o = context.operands;
  if (o.size() != 3) return "matmul_general takes 3 operands";
  if (mm.m < 1 || mm.n < 1 || mm.k < 1) return "matmul sizes out of range";
  if (p->a_offsets.empty() || p->a_offsets.size() != p->b_offsets.size()) return "batch differs";
  const int64_t a_span = checked_product({mm.m - 1, mm.a_stride_m});
  const int64_t a_depth = checked_product({mm.k - 1, mm.a_stride_k});
  const int64_t b_span = checked_product({mm.n - 1, mm.b_stride_n});
  const int64_t b_depth = checked_product({mm.k - 1, mm.b_stride_k});
  if (a_span < 0 || a_depth < 0 || b_span < 0 || b_depth < 0) return "strides out of range";
  for (size_t i = 0; i < p->a_offsets.size(); ++i) {
    if (p->a_offsets[i] < 0 || !holds_floats(o[0], p->a_offsets[i] + a_span + a_depth + 1)) {
      return "a is too small";
    }
    if (p->b_offsets[i] < 0 || !holds_floats(o[1], p->b_offsets[i] + b_span + b_depth + 1)) {
      return "b is too small";
    }
  }
  const auto batch = static_cast<int64_t>(p->a_offsets.size());
  if (!holds_floats(o[2], checked_product({batch, mm.m, mm.n}))) return "c is too small";
  p->row_blocks = ceil_div(mm.m, kRowsPerUnit);
  prepared.units = batch * p->row_blocks;
  prepared.scratch_bytes = 4 * kernels::general_scratch_floats(*p->row, mm.n, mm.k);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_general(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const General*>(params);
  for_each_band(context.begin, context.end, p.row_blocks,
                [&](int64_t item, int64_t r0, int64_t r1) {
                  GeneralMatmulParams mm = p.matmul;
                  mm.a = as<float>(context, 0) + p.a_offsets[static_cast<size_t>(item)];
                  mm.b = as<float>(context, 1) + p.b_offsets[static_cast<size_t>(item)];
                  mm.c = as_mutable<float>(context, 2) + item * mm.m * mm.n;
                  p.row->run(mm, r0 * kRowsPerUnit, std::min(r1 * kRowsPerUnit, mm.m),
                             reinterpret_cast<float*>(context.scratch));
                });
  return {};
}

constexpr Op kOps[] = {
    {"matmul_columns", &prepare_columns, &run_columns, {4, 1}},
    {"matmul_rows", &prepare_rows, &run_rows, {3, 1}},
    {"matmul_general", &prepare_general, &run_general, kLast},
};

}  // namespace

std::span<const Op> matmul_ops() { return kOps; }

}  // namespace colonnade::exec

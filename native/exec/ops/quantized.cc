// Adapters of 8-bit products in byte panels (kernels/qmatmul/qmatmul.h), and of their borders.
#include <algorithm>

#include "exec/op.h"
#include "exec/ops/byte_panels.h"
#include "exec/ops/check.h"
#include "exec/ops/conv_shape.h"
#include "exec/ops/epilogue.h"
#include "exec/ops/grid.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::exec {
namespace {

using kernels::byte_groups;
using kernels::byte_tiles;
using kernels::ByteBorderParams;
using kernels::ByteConvParams;
using kernels::ByteMatmulParams;
using kernels::ByteMatmulRow;
using kernels::ByteOutput;
using kernels::ConvShape;

constexpr int64_t kMaxExtent = int64_t{1} << 31;

const ByteMatmulRow* find_row(int64_t number, Isa isa) {
  const auto rows = kernels::byte_matmul_rows();
  if (number < 0 || number >= static_cast<int64_t>(rows.size())) return nullptr;
  const ByteMatmulRow& row = rows[static_cast<size_t>(number)];
  return row.isa <= isa ? &row : nullptr;
}

// ---- products. operands: x, w, w_scale, w_sum, bias, x_scale, x_zero, y_scale, y_zero, y,
// extras...
constexpr size_t kX = 0, kW = 1, kWScale = 2, kWSum = 3, kBias = 4, kXScale = 5, kXZero = 6,
                 kYScale = 7, kYZero = 8, kY = 9, kProductOperands = 10;

struct Product {
  const ByteMatmulRow* row;
  ByteMatmulParams matmul;  // `out` of convolutions too.
  ByteConvParams conv;
  int64_t groups;  // Byte groups along k.
  int64_t panels;
  int64_t tiles;
  int64_t blocks;
  int64_t own_scratch;
  Epilogue epilogue;
};

std::string check_weights(const OperandInfo& w, const ByteMatmulRow& row, int64_t m,
                          int64_t groups) {
  if (!w.present() || w.data == nullptr) return "w is not a constant";
  const char* damage =
      kernels::verify_byte_weights({w.data, static_cast<size_t>(w.bytes)}, m, groups, row.form);
  return damage == nullptr ? "" : damage;
}

// Checks what all products have in common; y has `columns` columns.
std::string check_product(std::span<const OperandInfo> o, int64_t m, int64_t columns,
                          int64_t lanes) {
  if (!holds_floats(o[kWScale], m) || !holds_floats(o[kWSum], m)) return "w_scale is too small";
  if (!holds_floats_or_absent(o[kBias], m)) return "bias is too small";
  if (!holds_floats(o[kXScale], 1) || !holds_bytes(o[kXZero], 1)) return "x_scale is too small";
  const bool is_bytes = o[kYScale].present();
  if (is_bytes && (!holds_floats(o[kYScale], 1) || !holds_bytes(o[kYZero], 1))) {
    return "y_scale is too small";
  }
  const int64_t floats =
      is_bytes ? byte_panel_lanes(m, columns, lanes) : panel_floats(m, columns, lanes);
  return holds_floats(o[kY], floats) ? "" : "y is too small";
}

// What follows the sizes in the parameters, and what the executor wants to know.
std::string finish_product(PrepareContext& context, Prepared& prepared, Product& p, int64_t m) {
  ParamReader& in = context.params;
  const int64_t lanes = p.row->panel_lanes;
  if (p.blocks < 1 || p.blocks > p.tiles) return "blocks out of range";
  const EpilogueShape shape{m, p.panels, lanes, context.isa};
  const auto extras = context.operands.subspan(kProductOperands);
  std::string error = prepare_epilogue(in, extras, shape, p.epilogue);
  if (!error.empty()) return error;
  prepared.units = p.panels * p.blocks;
  prepared.units_per_panel = p.blocks == 1 ? 1 : 0;
  prepared.scratch_bytes = p.own_scratch + p.epilogue.scratch_bytes;
  const bool is_bytes = context.operands[kYScale].present();
  prepared.uses.resize(kProductOperands);
  prepared.uses[kY] = write_same((is_bytes ? byte_groups(m) : m) * lanes);
  return "";
}

// ---- qmatmul_columns. params: row, m, k, l, blocks, lo, hi, epilogue.
std::string prepare_matmul(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Product>();
  ParamReader& in = context.params;
  p->row = find_row(in.integer(), context.isa);
  if (p->row == nullptr) return "no such 8-bit kernel on this instruction set";
  ByteMatmulParams& mm = p->matmul;
  mm = {};
  mm.out.m = in.integer();
  mm.k = in.integer();
  mm.l = in.integer();
  p->blocks = in.integer();
  mm.out.lo = in.real32();
  mm.out.hi = in.real32();
  const auto& o = context.operands;
  const int64_t m = mm.out.m, lanes = p->row->panel_lanes;
  if (o.size() < kProductOperands) return "an 8-bit product takes at least 10 operands";
  if (m < 1 || m > kMaxExtent || mm.k < 1 || mm.l < 1) return "product sizes out of range";
  if (mm.k > kernels::kByteDepthMax) return "sums that may not fit 32 bits";
  if (!holds_floats(o[kX], byte_panel_lanes(mm.k, mm.l, lanes))) return "x is too small";
  p->groups = byte_groups(mm.k);
  std::string error = check_weights(o[kW], *p->row, m, p->groups);
  if (!error.empty()) return error;
  error = check_product(o, m, mm.l, lanes);
  if (!error.empty()) return error;
  p->panels = ceil_div(mm.l, lanes);
  p->tiles = byte_tiles(m);
  p->own_scratch = kernels::byte_matmul_scratch_bytes(lanes);
  error = finish_product(context, prepared, *p, m);
  if (!error.empty()) return error;
  prepared.uses[kX] = read_same(byte_groups(mm.k) * lanes);
  add_extra_uses(p->epilogue, prepared.uses);
  prepared.params = std::move(p);
  return "";
}

// ---- qconv, qdepthwise. params: row, shape (16), blocks, lo, hi, epilogue.
std::string prepare_any_conv(PrepareContext& context, Prepared& prepared, bool is_depthwise) {
  auto p = std::make_shared<Product>();
  ParamReader& in = context.params;
  p->row = find_row(in.integer(), context.isa);
  if (p->row == nullptr) return "no such 8-bit kernel on this instruction set";
  p->matmul = {};
  p->conv = {};
  p->conv.shape = read_conv_shape(in);
  p->blocks = in.integer();
  p->matmul.out.lo = in.real32();
  p->matmul.out.hi = in.real32();
  const ConvShape& s = p->conv.shape;
  if (std::string error = check_conv_shape(s, false); !error.empty()) return error;
  const auto& o = context.operands;
  const int64_t m = s.out_channels, lanes = p->row->panel_lanes;
  p->matmul.out.m = m;
  if (o.size() < kProductOperands) return "an 8-bit convolution takes at least 10 operands";
  const int64_t in_columns = checked_product({s.batch, s.in_h, s.in_w});
  const int64_t out_columns = checked_product({s.batch, s.out_h, s.out_w});
  const int64_t weights = checked_product({m, s.channels / s.group, s.kernel_h, s.kernel_w});
  if (in_columns < 0 || out_columns < 0 || weights < 0) return "convolution is too large";
  if (is_depthwise ? !kernels::has_byte_depthwise(s) : !kernels::has_byte_conv(s)) {
    return "no 8-bit kernel for this convolution";
  }
  if (!holds_floats(o[kX], byte_panel_lanes(s.channels, in_columns, lanes))) {
    return "x is too small";
  }
  p->groups = kernels::byte_conv_groups(s);
  if (is_depthwise && !holds_bytes(o[kW], kernels::packed_byte_depthwise_weights(s))) {
    return "w is too small";
  }
  std::string error = is_depthwise ? "" : check_weights(o[kW], *p->row, m, p->groups);
  if (!error.empty()) return error;
  error = check_product(o, m, out_columns, lanes);
  if (!error.empty()) return error;
  p->panels = ceil_div(out_columns, lanes);
  p->tiles = byte_tiles(m);
  const int64_t scratch = is_depthwise ? kernels::byte_depthwise_scratch_bytes(s, lanes)
                                       : kernels::byte_conv_scratch_bytes(s, lanes);
  p->own_scratch = (scratch + 63) / 64 * 64;
  error = finish_product(context, prepared, *p, m);
  if (!error.empty()) return error;
  std::vector<PanelUse> uses = std::move(prepared.uses);
  set_conv_uses(s, lanes, {}, prepared);  // For the reach.
  uses[kX] = read_reach(byte_groups(s.channels) * lanes);
  prepared.uses = std::move(uses);
  add_extra_uses(p->epilogue, prepared.uses);
  prepared.params = std::move(p);
  return "";
}

std::string prepare_conv(PrepareContext& context, Prepared& prepared) {
  return prepare_any_conv(context, prepared, false);
}

std::string prepare_depthwise(PrepareContext& context, Prepared& prepared) {
  return prepare_any_conv(context, prepared, true);
}

ByteOutput bind_output(const Product& p, const RunContext& context, EpilogueRun& epilogue) {
  ByteOutput out = p.matmul.out;
  out.w_scale = as<float>(context, kWScale);
  out.w_sum = as<int32_t>(context, kWSum);
  out.bias = as<float>(context, kBias);
  out.x_scale = as<float>(context, kXScale);
  out.x_zero = as<uint8_t>(context, kXZero);
  out.y_scale = as<float>(context, kYScale);
  out.y_zero = as<uint8_t>(context, kYZero);
  out.y = as_mutable<float>(context, kY);
  out.y_bytes = as_mutable<uint8_t>(context, kY);
  epilogue = {&p.epilogue, context.operands + kProductOperands, context.scratch + p.own_scratch};
  out.epilogue = p.epilogue.empty() ? nullptr : &EpilogueRun::run;
  out.epilogue_context = &epilogue;
  return out;
}

kernels::ByteWeights bind_weights(const Product& p, const RunContext& context) {
  return kernels::view_byte_weights(as<std::byte>(context, kW), p.matmul.out.m, p.groups,
                                    p.row->form);
}

// `together`: tiles that a part is a multiple of, but for the last.
template <typename Params, typename Run>
RunStatus run_bands(const Product& p, const RunContext& context, const Params& params, Run run,
                    int64_t together) {
  const int64_t whole = ceil_div(p.tiles, together);
  const auto begin_of = [&](int64_t block) {
    return std::min(part_begin(whole, p.blocks, block) * together, p.tiles);
  };
  for_each_band(context.begin, context.end, p.panels, [&](int64_t block, int64_t p0, int64_t p1) {
    run(params, p0, p1, begin_of(block), begin_of(block + 1), context.scratch);
  });
  return {};
}

RunStatus run_matmul(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Product*>(params);
  EpilogueRun epilogue{};
  ByteMatmulParams mm = p.matmul;
  mm.out = bind_output(p, context, epilogue);
  mm.x = as<uint8_t>(context, kX);
  mm.w = bind_weights(p, context);
  return run_bands(p, context, mm, p.row->matmul, kernels::byte_tiles_together(p.row->form));
}

RunStatus run_any_conv(const void* params, const RunContext& context, bool is_depthwise) {
  const auto& p = *static_cast<const Product*>(params);
  EpilogueRun epilogue{};
  ByteConvParams conv = p.conv;
  conv.out = bind_output(p, context, epilogue);
  conv.x = as<uint8_t>(context, kX);
  conv.w = is_depthwise ? kernels::ByteWeights{as<int8_t>(context, kW), nullptr, nullptr}
                        : bind_weights(p, context);
  if (is_depthwise) return run_bands(p, context, conv, p.row->depthwise, 1);
  return run_bands(p, context, conv, p.row->conv, kernels::byte_tiles_together(p.row->form));
}

RunStatus run_conv(const void* params, const RunContext& context) {
  return run_any_conv(params, context, false);
}

RunStatus run_depthwise(const void* params, const RunContext& context) {
  return run_any_conv(params, context, true);
}

// ---- qsparse_columns: params row, m, k, l, k_block, blocks, lo, hi, epilogue.
// qsparse_conv: params row, shape (16), k_block, blocks, lo, hi, epilogue. k_block counts byte
// groups.
struct Sparse {
  Product product;
  kernels::ByteSparseParams params;
  ConvShape shape;
};

std::string prepare_sparse(PrepareContext& context, Prepared& prepared, Sparse& p, int64_t x_rows,
                           int64_t in_columns) {
  const auto& o = context.operands;
  Product& product = p.product;
  const kernels::SparseGeometry& g = p.params.geometry;
  const int64_t m = product.matmul.out.m, lanes = product.row->panel_lanes;
  if (!holds_floats(o[kX], panel_floats(x_rows, in_columns, lanes))) return "x is too small";
  if (g.k_block < 1 || !o[kW].present() || o[kW].data == nullptr) return "w is not a constant";
  const char* damage =
      kernels::verify_sparse_weights({o[kW].data, static_cast<size_t>(o[kW].bytes)}, g,
                                     kernels::kByteTile, static_cast<int32_t>(lanes));
  if (damage != nullptr) return damage;
  std::string error = check_product(o, m, p.params.columns, lanes);
  if (!error.empty()) return error;
  product.panels = ceil_div(p.params.columns, lanes);
  product.tiles = g.tiles();
  const int64_t scratch = kernels::byte_sparse_scratch_bytes(p.params.shape, lanes);
  product.own_scratch = (scratch + 63) / 64 * 64;
  return finish_product(context, prepared, product, m);
}

std::string prepare_sparse_columns(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Sparse>();
  ParamReader& in = context.params;
  Product& product = p->product;
  product.row = find_row(in.integer(), context.isa);
  if (product.row == nullptr) return "no such 8-bit kernel on this instruction set";
  ByteOutput& out = product.matmul.out = {};
  out.m = in.integer();
  const int64_t k = in.integer();
  p->params = {};
  p->params.columns = in.integer();
  const int64_t k_block = in.integer();
  product.blocks = in.integer();
  out.lo = in.real32();
  out.hi = in.real32();
  if (context.operands.size() < kProductOperands) return "an 8-bit product takes 10 operands";
  if (out.m < 1 || out.m > kMaxExtent || k < 1 || p->params.columns < 1) {
    return "product sizes out of range";
  }
  if (k > kernels::kByteDepthMax) return "sums that may not fit 32 bits";
  p->params.geometry = {1, out.m, byte_groups(k), k_block};
  std::string error = prepare_sparse(context, prepared, *p, byte_groups(k), p->params.columns);
  if (!error.empty()) return error;
  prepared.uses[kX] = read_same(byte_groups(k) * product.row->panel_lanes);
  add_extra_uses(product.epilogue, prepared.uses);
  prepared.params = std::move(p);
  return "";
}

std::string prepare_sparse_conv(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Sparse>();
  ParamReader& in = context.params;
  Product& product = p->product;
  product.row = find_row(in.integer(), context.isa);
  if (product.row == nullptr) return "no such 8-bit kernel on this instruction set";
  ConvShape& s = p->shape = read_conv_shape(in);
  const int64_t k_block = in.integer();
  product.blocks = in.integer();
  ByteOutput& out = product.matmul.out = {};
  out.lo = in.real32();
  out.hi = in.real32();
  if (std::string error = check_conv_shape(s, false); !error.empty()) return error;
  if (context.operands.size() < kProductOperands) return "an 8-bit product takes 10 operands";
  if (!kernels::has_byte_conv(s)) return "no 8-bit kernel for this convolution";
  const int64_t in_columns = checked_product({s.batch, s.in_h, s.in_w});
  const int64_t out_columns = checked_product({s.batch, s.out_h, s.out_w});
  if (in_columns < 0 || out_columns < 0) return "convolution is too large";
  out.m = s.out_channels;
  p->params = {};
  p->params.shape = &p->shape;
  p->params.columns = out_columns;
  const int64_t depth = byte_groups(s.channels / s.group) * s.kernel_h * s.kernel_w;
  p->params.geometry = {s.group, s.out_channels / s.group, depth, k_block};
  std::string error = prepare_sparse(context, prepared, *p, byte_groups(s.channels), in_columns);
  if (!error.empty()) return error;
  std::vector<PanelUse> uses = std::move(prepared.uses);
  const int64_t lanes = product.row->panel_lanes;
  set_conv_uses(s, lanes, {}, prepared);  // For the reach.
  uses[kX] = read_reach(byte_groups(s.channels) * lanes);
  prepared.uses = std::move(uses);
  add_extra_uses(product.epilogue, prepared.uses);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_sparse(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Sparse*>(params);
  EpilogueRun epilogue{};
  kernels::ByteSparseParams sparse = p.params;
  sparse.out = bind_output(p.product, context, epilogue);
  sparse.x = as<uint8_t>(context, kX);
  sparse.w = as<std::byte>(context, kW);
  return run_bands(p.product, context, sparse, p.product.row->sparse, 1);
}

// ---- quantize_columns, dequantize_columns. operands: source, scale, zero, destination.
// params: features, l.
struct Border {
  const ByteMatmulRow* row;
  ByteBorderParams params;
};

std::string prepare_border(PrepareContext& context, Prepared& prepared, bool to_bytes) {
  auto p = std::make_shared<Border>();
  p->row = &kernels::choose_byte_matmul(context.isa);
  p->params = {};
  const int64_t features = p->params.features = context.params.integer();
  const int64_t columns = context.params.integer();
  const auto& o = context.operands;
  const int64_t lanes = p->row->panel_lanes;
  if (o.size() != 4) return "a border takes 4 operands";
  if (features < 1 || features > kMaxExtent || columns < 1) return "border sizes out of range";
  if (!holds_floats(o[1], 1) || !holds_bytes(o[2], 1)) return "scale is too small";
  const size_t values = to_bytes ? 0 : 3, bytes = to_bytes ? 3 : 0;
  if (!holds_floats(o[values], panel_floats(features, columns, lanes))) {
    return "float32 panels are too small";
  }
  if (!holds_floats(o[bytes], byte_panel_lanes(features, columns, lanes))) {
    return "byte panels are too small";
  }
  prepared.units = ceil_div(columns, lanes);
  prepared.units_per_panel = 1;
  prepared.uses.resize(4);
  const int64_t float_row = features * lanes, byte_row = byte_groups(features) * lanes;
  prepared.uses[0] = read_same(to_bytes ? float_row : byte_row);
  prepared.uses[3] = write_same(to_bytes ? byte_row : float_row);
  prepared.params = std::move(p);
  return "";
}

std::string prepare_quantize(PrepareContext& context, Prepared& prepared) {
  return prepare_border(context, prepared, true);
}

std::string prepare_dequantize(PrepareContext& context, Prepared& prepared) {
  return prepare_border(context, prepared, false);
}

RunStatus run_quantize(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Border*>(params);
  ByteBorderParams border = p.params;
  border.values = as_mutable<float>(context, 0);
  border.scale = as<float>(context, 1);
  border.zero = as<uint8_t>(context, 2);
  border.bytes = as_mutable<uint8_t>(context, 3);
  p.row->quantize(border, context.begin, context.end);
  return {};
}

RunStatus run_dequantize(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Border*>(params);
  ByteBorderParams border = p.params;
  border.bytes = as_mutable<uint8_t>(context, 0);
  border.scale = as<float>(context, 1);
  border.zero = as<uint8_t>(context, 2);
  border.values = as_mutable<float>(context, 3);
  p.row->dequantize(border, context.begin, context.end);
  return {};
}

// ---- rows_to_bytes, bytes_to_rows. operands: source, destination.
// params: outer, features, inner, is_signed.
struct ByteLayout {
  int64_t features;
  int64_t inner;
  int64_t columns;
  int64_t lanes;
  uint32_t flip;  // int8 in rows is 128 less than in panels.
};

std::string prepare_layout(PrepareContext& context, Prepared& prepared, bool to_panels) {
  auto p = std::make_shared<ByteLayout>();
  const int64_t outer = context.params.integer();
  p->features = context.params.integer();
  p->inner = context.params.integer();
  p->flip = context.params.integer() != 0 ? 0x80808080u : 0;
  p->lanes = kernels::choose_byte_matmul(context.isa).panel_lanes;
  const auto& o = context.operands;
  if (o.size() != 2) return "layout takes 2 operands";
  p->columns = checked_product({outer, p->inner});
  const int64_t rows = checked_product({p->columns, p->features});
  if (p->columns < 1 || rows < 1) return "layout sizes out of range";
  const int64_t panels = byte_panel_lanes(p->features, p->columns, p->lanes);
  const auto& in_rows = o[to_panels ? 0 : 1];
  if (!holds_bytes(in_rows, rows)) return "rows are too small";
  if (!holds_floats(o[to_panels ? 1 : 0], panels)) return "byte panels are too small";
  prepared.units = ceil_div(p->columns, p->lanes);
  prepared.units_per_panel = 1;
  const int64_t row = byte_groups(p->features) * p->lanes;
  prepared.uses = {to_panels ? PanelUse{} : read_same(row), write_same(to_panels ? row : 0)};
  prepared.params = std::move(p);
  return "";
}

std::string prepare_to_bytes(PrepareContext& context, Prepared& prepared) {
  return prepare_layout(context, prepared, true);
}

std::string prepare_from_bytes(PrepareContext& context, Prepared& prepared) {
  return prepare_layout(context, prepared, false);
}

// Calls fn(offset in rows of feature 0, lane in panels of group 0, count) for the runs of a panel's
// columns that are neighbours in rows.
template <typename Fn>
void for_each_run(const ByteLayout& p, int64_t panel, const Fn& fn) {
  const int64_t end = std::min((panel + 1) * p.lanes, p.columns);
  const int64_t first = panel * byte_groups(p.features) * p.lanes;
  for (int64_t column = panel * p.lanes; column < end;) {
    const int64_t inner = column % p.inner;
    const int64_t count = std::min(end - column, p.inner - inner);
    fn(column / p.inner * p.features * p.inner + inner, first + column % p.lanes, count);
    column += count;
  }
}

// Four features of `count` columns, `step` bytes from feature to feature, as lanes.
void join_features(const uint8_t* rows, int64_t step, int64_t features, uint32_t flip,
                   int64_t count, uint32_t* lanes) {
  if (features >= 4) {
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t low = rows[i] | static_cast<uint32_t>(rows[i + step]) << 8;
      const uint32_t high = rows[i + 2 * step] | static_cast<uint32_t>(rows[i + 3 * step]) << 8;
      lanes[i] = (low | high << 16) ^ flip;
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint32_t lane = 0;
    for (int64_t f = 0; f < features; ++f) {
      lane |= static_cast<uint32_t>(rows[i + f * step] ^ (flip & 0xff)) << (8 * f);
    }
    lanes[i] = lane;
  }
}

void split_features(const uint32_t* lanes, int64_t step, int64_t features, uint32_t flip,
                    int64_t count, uint8_t* rows) {
  for (int64_t f = 0; f < std::min<int64_t>(features, 4); ++f) {
    for (int64_t i = 0; i < count; ++i) {
      rows[i + f * step] = static_cast<uint8_t>((lanes[i] ^ flip) >> (8 * f));
    }
  }
}

RunStatus run_to_bytes(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const ByteLayout*>(params);
  const auto* rows = as<uint8_t>(context, 0);
  auto* panels = as_mutable<uint32_t>(context, 1);
  for (int64_t panel = context.begin; panel < context.end; ++panel) {
    for_each_run(p, panel, [&](int64_t row, int64_t lane, int64_t count) {
      for (int64_t g = 0; g < byte_groups(p.features); ++g) {
        join_features(rows + row + 4 * g * p.inner, p.inner, p.features - 4 * g, p.flip, count,
                      panels + lane + g * p.lanes);
      }
    });
  }
  return {};
}

RunStatus run_from_bytes(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const ByteLayout*>(params);
  const auto* panels = as<uint32_t>(context, 0);
  auto* rows = as_mutable<uint8_t>(context, 1);
  for (int64_t panel = context.begin; panel < context.end; ++panel) {
    for_each_run(p, panel, [&](int64_t row, int64_t lane, int64_t count) {
      for (int64_t g = 0; g < byte_groups(p.features); ++g) {
        split_features(panels + lane + g * p.lanes, p.inner, p.features - 4 * g, p.flip, count,
                       rows + row + 4 * g * p.inner);
      }
    });
  }
  return {};
}

constexpr Op kOps[] = {
    {"qmatmul_columns", &prepare_matmul, &run_matmul, {kY, 1}},
    {"qconv", &prepare_conv, &run_conv, {kY, 1}},
    {"qdepthwise", &prepare_depthwise, &run_depthwise, {kY, 1}},
    {"qsparse_columns", &prepare_sparse_columns, &run_sparse, {kY, 1}},
    {"qsparse_conv", &prepare_sparse_conv, &run_sparse, {kY, 1}},
    {"quantize_columns", &prepare_quantize, &run_quantize, kLast},
    {"dequantize_columns", &prepare_dequantize, &run_dequantize, kLast},
    {"rows_to_bytes", &prepare_to_bytes, &run_to_bytes, kLast},
    {"bytes_to_rows", &prepare_from_bytes, &run_from_bytes, kLast},
};

}  // namespace

std::span<const Op> quantized_ops() { return kOps; }

}  // namespace colonnade::exec

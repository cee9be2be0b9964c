// Adapters of what is done to 8-bit tensors beside products (kernels/bytes/bytes.h).
#include "kernels/bytes/bytes.h"

#include <algorithm>

#include "exec/op.h"
#include "exec/ops/byte_panels.h"
#include "exec/ops/check.h"
#include "exec/ops/pool_params.h"

namespace colonnade::exec {
namespace {

using kernels::byte_groups;
using kernels::ByteBinaryParams;
using kernels::ByteMeanParams;
using kernels::ByteOperand;
using kernels::BytePoolParams;
using kernels::BytesRow;

constexpr int64_t kMaxExtent = int64_t{1} << 31;
// Bytes of a unit in rows: a table is read into registers once for each.
constexpr int64_t kTableChunk = int64_t{1} << 14;

bool holds_scale(std::span<const OperandInfo> o, size_t scale) {
  return holds_floats(o[scale], 1) && holds_bytes(o[scale + 1], 1);
}

ByteOperand bind_operand(const RunContext& context, size_t first) {
  return {as<uint8_t>(context, first), as<float>(context, first + 1),
          as<uint8_t>(context, first + 2)};
}

// ---- bytes_binary. operands: a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero, y.
// b without a scale: float32, one value a feature.
// params: features, l, columns of a for one of b (0: as many), is_product, lo, hi.
struct Binary {
  const BytesRow* row;
  ByteBinaryParams params;
  bool by_feature;
};

std::string prepare_binary(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Binary>();
  p->row = &kernels::choose_bytes(context.isa);
  ByteBinaryParams& b = p->params = {};
  b.features = context.params.integer();
  b.columns = context.params.integer();
  b.inner = context.params.integer();
  b.is_product = context.params.integer() != 0;
  b.lo = context.params.real32();
  b.hi = context.params.real32();
  const auto& o = context.operands;
  const int64_t lanes = p->row->panel_lanes;
  if (o.size() != 9) return "an operation on two tensors takes 9 operands";
  if (b.features < 1 || b.features > kMaxExtent || b.columns < 1) return "sizes out of range";
  if (b.inner < 0 || (b.inner > 0 && b.columns % b.inner != 0)) return "b does not divide a";
  const int64_t count = byte_panel_lanes(b.features, b.columns, lanes);
  const int64_t b_columns = b.inner > 0 ? b.columns / b.inner : b.columns;
  p->by_feature = !o[4].present();
  const int64_t b_count =
      p->by_feature ? b.features : byte_panel_lanes(b.features, b_columns, lanes);
  if (!holds_floats(o[0], count) || !holds_floats(o[8], count)) return "a or y is too small";
  if (!holds_floats(o[3], b_count)) return "b is too small";
  if (!holds_scale(o, 1) || !holds_scale(o, 6)) return "scale is too small";
  if (!p->by_feature && !holds_scale(o, 4)) return "scale is too small";
  prepared.units = ceil_div(b.columns, lanes);
  prepared.units_per_panel = 1;
  prepared.uses.resize(9);
  const int64_t row = byte_groups(b.features) * lanes;
  prepared.uses[0] = read_same(row);
  if (b.inner == 0 && !p->by_feature) prepared.uses[3] = read_same(row);
  prepared.uses[8] = write_same(row);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_binary(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Binary*>(params);
  ByteBinaryParams b = p.params;
  b.a = bind_operand(context, 0);
  if (p.by_feature) {
    b.b_values = as<float>(context, 3);
  } else {
    b.b = bind_operand(context, 3);
  }
  b.y_scale = as<float>(context, 6);
  b.y_zero = as<uint8_t>(context, 7);
  b.y = as_mutable<uint8_t>(context, 8);
  p.row->binary(b, context.begin, context.end);
  return {};
}

// ---- bytes_table, bytes_table_columns. operands: x, table, y (may be x).
// params: bytes; or features, l.
struct Lookup {
  const BytesRow* row;
  int64_t bytes;
  int64_t groups;
  uint32_t last;  // Bytes of the last group's lanes that are features.
};

std::string prepare_table(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Lookup>();
  p->row = &kernels::choose_bytes(context.isa);
  p->bytes = context.params.integer();
  const auto& o = context.operands;
  if (o.size() != 3) return "a table takes 3 operands";
  if (p->bytes < 1 || p->bytes > (int64_t{1} << 60)) return "size out of range";
  if (!holds_bytes(o[1], 256)) return "table is too small";
  if (!holds_bytes(o[0], p->bytes) || !holds_bytes(o[2], p->bytes)) return "x or y is too small";
  prepared.units = ceil_div(p->bytes, kTableChunk);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_table(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Lookup*>(params);
  const int64_t begin = context.begin * kTableChunk;
  const int64_t end = std::min(context.end * kTableChunk, p.bytes);
  p.row->lookup(as<uint8_t>(context, 1), as<uint8_t>(context, 0) + begin,
                as_mutable<uint8_t>(context, 2) + begin, end - begin);
  return {};
}

std::string prepare_table_columns(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Lookup>();
  p->row = &kernels::choose_bytes(context.isa);
  const int64_t features = context.params.integer();
  const int64_t columns = context.params.integer();
  const auto& o = context.operands;
  const int64_t lanes = p->row->panel_lanes;
  if (o.size() != 3) return "a table takes 3 operands";
  if (features < 1 || features > kMaxExtent || columns < 1) return "sizes out of range";
  if (!holds_bytes(o[1], 256)) return "table is too small";
  const int64_t count = byte_panel_lanes(features, columns, lanes);
  if (!holds_floats(o[0], count) || !holds_floats(o[2], count)) return "x or y is too small";
  p->groups = byte_groups(features);
  p->last = features % 4 == 0 ? ~0u : (1u << (8 * (features % 4))) - 1;
  prepared.units = ceil_div(columns, lanes);
  prepared.units_per_panel = 1;
  prepared.uses.resize(3);
  prepared.uses[0] = read_same(p->groups * lanes);
  prepared.uses[2] = write_same(p->groups * lanes);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_table_columns(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Lookup*>(params);
  const int64_t lanes = p.row->panel_lanes, panel = p.groups * lanes * 4;
  p.row->lookup(as<uint8_t>(context, 1), as<uint8_t>(context, 0) + context.begin * panel,
                as_mutable<uint8_t>(context, 2) + context.begin * panel,
                (context.end - context.begin) * panel);
  if (p.last == ~0u) return {};
  for (int64_t i = context.begin; i < context.end; ++i) {
    uint32_t* row = as_mutable<uint32_t>(context, 2) + ((i + 1) * p.groups - 1) * lanes;
    for (int64_t lane = 0; lane < lanes; ++lane) row[lane] &= p.last;
  }
  return {};
}

// ---- bytes_pool. operands: x, x_scale, x_zero, y_scale, y_zero, y; of max only x and y.
// params: as pool_window, channels and by_panels too.
struct Pool {
  const BytesRow* row;
  BytePoolParams params;
  bool by_panels;
};

std::string prepare_pool(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Pool>();
  p->row = &kernels::choose_bytes(context.isa);
  p->params = {};
  kernels::PoolParams& w = p->params.window;
  if (std::string error = read_pool_params(context.params, w); !error.empty()) return error;
  p->by_panels = context.params.integer() != 0;
  const auto& o = context.operands;
  const int64_t lanes = p->row->panel_lanes;
  if (o.size() != 6) return "pooling of bytes takes 6 operands";
  const bool is_max = w.kind == kernels::PoolKind::max;
  if (!is_max && (!holds_scale(o, 1) || !holds_scale(o, 3))) return "scale is too small";
  if (!is_max && checked_product({w.kernel_h, w.kernel_w}) > kernels::kByteWindowMax) {
    return "pooling window is too large";
  }
  const int64_t in_columns = checked_product({w.batch, w.in_h, w.in_w});
  const int64_t out_columns = checked_product({w.batch, w.out_h, w.out_w});
  if (!holds_floats(o[0], byte_panel_lanes(w.channels, in_columns, lanes))) return "x is too small";
  if (!holds_floats(o[5], byte_panel_lanes(w.channels, out_columns, lanes))) {
    return "y is too small";
  }
  w.channels = byte_groups(w.channels);
  prepared.units = w.batch * w.channels;
  if (p->by_panels) {
    prepared.units = ceil_div(out_columns, lanes);
    prepared.units_per_panel = 1;
    prepared.uses.resize(6);
    prepared.uses[0] = read_reach(w.channels * lanes);
    prepared.uses[5] = write_same(w.channels * lanes);
    prepared.reach = pool_reach(w, lanes);
  }
  prepared.scratch_bytes = 4 * kernels::byte_pool_scratch_floats(w);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_pool(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Pool*>(params);
  BytePoolParams b = p.params;
  b.window.x = as<float>(context, 0);
  b.window.y = as_mutable<float>(context, 5);
  b.x = bind_operand(context, 0);
  b.y_scale = as<float>(context, 3);
  b.y_zero = as<uint8_t>(context, 4);
  const auto run = p.by_panels ? p.row->pool_panels : p.row->pool;
  run(b, context.begin, context.end, reinterpret_cast<float*>(context.scratch));
  return {};
}

// ---- bytes_mean. operands: x, x_scale, x_zero, y_scale, y_zero, y.
// params: batch, features, inner. y has a column for each sample.
struct Mean {
  const BytesRow* row;
  ByteMeanParams params;
};

std::string prepare_mean(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Mean>();
  p->row = &kernels::choose_bytes(context.isa);
  ByteMeanParams& m = p->params = {};
  m.batch = context.params.integer();
  m.features = context.params.integer();
  m.inner = context.params.integer();
  const auto& o = context.operands;
  const int64_t lanes = p->row->panel_lanes;
  if (o.size() != 6) return "a mean takes 6 operands";
  if (m.batch < 1 || m.features < 1 || m.features > kMaxExtent) return "sizes out of range";
  if (m.inner < 1 || m.inner > kernels::kByteMeanMax) return "columns of a sample out of range";
  if (!holds_scale(o, 1) || !holds_scale(o, 3)) return "scale is too small";
  const int64_t columns = checked_product({m.batch, m.inner});
  if (!holds_floats(o[0], byte_panel_lanes(m.features, columns, lanes))) return "x is too small";
  if (!holds_floats(o[5], byte_panel_lanes(m.features, m.batch, lanes))) return "y is too small";
  prepared.units = checked_product({m.batch, byte_groups(m.features)});
  prepared.params = std::move(p);
  return "";
}

RunStatus run_mean(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Mean*>(params);
  ByteMeanParams m = p.params;
  m.x = bind_operand(context, 0);
  m.y_scale = as<float>(context, 3);
  m.y_zero = as<uint8_t>(context, 4);
  m.y = as_mutable<uint8_t>(context, 5);
  p.row->mean(m, context.begin, context.end);
  return {};
}

constexpr Op kOps[] = {
    {"bytes_binary", &prepare_binary, &run_binary, {8, 1}},
    {"bytes_table", &prepare_table, &run_table, kLast},
    {"bytes_table_columns", &prepare_table_columns, &run_table_columns, kLast},
    {"bytes_pool", &prepare_pool, &run_pool, {5, 1}},
    {"bytes_mean", &prepare_mean, &run_mean, {5, 1}},
};

}  // namespace

std::span<const Op> bytes_ops() { return kOps; }

}  // namespace colonnade::exec

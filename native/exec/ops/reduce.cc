// Adapters of the reduce family: reductions, softmax and normalisation over one axis. In columns
// the axis is the features: [panels][features][lanes].
#include "kernels/reduce/reduce.h"

#include "exec/op.h"
#include "exec/ops/check.h"

namespace colonnade::exec {
namespace {

using kernels::GroupNormParams;
using kernels::NormKind;
using kernels::NormParams;
using kernels::ReduceKind;
using kernels::ReduceParams;
using kernels::ReduceRow;
using kernels::ReduceShape;
using kernels::SoftmaxParams;

// Reads (outer, n, inner) and returns the number of elements, or -1.
int64_t read_shape(ParamReader& in, ReduceShape& shape) {
  shape.outer = in.integer();
  shape.n = in.integer();
  shape.inner = in.integer();
  if (shape.outer < 1 || shape.n < 1 || shape.inner < 1) return -1;
  return checked_product({shape.outer, shape.n, shape.inner});
}

// Panels are the outer axis when `is_columns`.
void fill_units(const ReduceShape& shape, bool is_columns, Prepared& prepared) {
  prepared.units = kernels::reduce_units(shape);
  if (is_columns) prepared.units_per_panel = prepared.units / shape.outer;
}

// ---- reduce: operands x, y. params: shape, kind.
struct Reduce {
  const ReduceRow* row;
  ReduceParams params;
};

std::string prepare_reduce(PrepareContext& context, Prepared& prepared) {
  auto r = std::make_shared<Reduce>();
  r->row = &kernels::choose_reduce(context.isa);
  ReduceParams& p = r->params;
  p = {};
  const int64_t elements = read_shape(context.params, p.shape);
  const int64_t kind = context.params.integer();
  if (kind < 0 || kind > static_cast<int64_t>(ReduceKind::log_sum_exp)) return "unknown reduction";
  p.kind = static_cast<ReduceKind>(kind);
  if (context.operands.size() != 2) return "reduce takes 2 operands";
  if (elements < 0 || !holds_floats(context.operands[0], elements)) return "x is too small";
  if (!holds_floats(context.operands[1], p.shape.outer * p.shape.inner)) return "y is too small";
  p.x_stride = p.shape.n * p.shape.inner;
  prepared.units = kernels::reduce_units(p.shape);
  prepared.params = std::move(r);
  return "";
}

RunStatus run_reduce(const void* params, const RunContext& context) {
  const auto& r = *static_cast<const Reduce*>(params);
  ReduceParams p = r.params;
  p.x = as<float>(context, 0);
  p.y = as_mutable<float>(context, 1);
  r.row->reduce(p, context.begin, context.end);
  return {};
}

// ---- softmax: operands x, y. params: shape, log, is_columns.
struct Softmax {
  const ReduceRow* row;
  SoftmaxParams params;
};

std::string prepare_softmax(PrepareContext& context, Prepared& prepared) {
  auto s = std::make_shared<Softmax>();
  s->row = &kernels::choose_reduce(context.isa);
  SoftmaxParams& p = s->params;
  p = {};
  const int64_t elements = read_shape(context.params, p.shape);
  p.log = context.params.integer() != 0;
  const bool is_columns = context.params.integer() != 0;
  if (context.operands.size() != 2) return "softmax takes 2 operands";
  if (elements < 0 || !holds_floats(context.operands[0], elements)) return "x is too small";
  if (!holds_floats(context.operands[1], elements)) return "y is too small";
  p.x_stride = p.y_stride = p.shape.n * p.shape.inner;
  fill_units(p.shape, is_columns, prepared);
  if (is_columns) prepared.uses = {read_same(p.x_stride), write_same(p.y_stride)};
  prepared.params = std::move(s);
  return "";
}

RunStatus run_softmax(const void* params, const RunContext& context) {
  const auto& s = *static_cast<const Softmax*>(params);
  SoftmaxParams p = s.params;
  p.x = as<float>(context, 0);
  p.y = as_mutable<float>(context, 1);
  s.row->softmax(p, context.begin, context.end);
  return {};
}

// ---- norm: operands x, scale, bias, residual, y, sum. params: shape, kind, epsilon, is_columns.
struct Norm {
  const ReduceRow* row;
  NormParams params;
};

std::string prepare_norm(PrepareContext& context, Prepared& prepared) {
  auto n = std::make_shared<Norm>();
  n->row = &kernels::choose_reduce(context.isa);
  NormParams& p = n->params;
  p = {};
  const int64_t elements = read_shape(context.params, p.shape);
  const int64_t kind = context.params.integer();
  if (kind < 0 || kind > 1) return "unknown normalisation";
  p.kind = static_cast<NormKind>(kind);
  p.epsilon = context.params.real32();
  const bool is_columns = context.params.integer() != 0;
  const auto& o = context.operands;
  if (o.size() != 6) return "norm takes 6 operands";
  if (elements < 0 || !holds_floats(o[0], elements)) return "x is too small";
  if (!holds_floats_or_absent(o[1], p.shape.n)) return "scale is too small";
  if (!holds_floats_or_absent(o[2], p.shape.n)) return "bias is too small";
  if (!holds_floats_or_absent(o[3], elements)) return "residual is too small";
  if (!holds_floats(o[4], elements)) return "y is too small";
  if (!holds_floats_or_absent(o[5], elements)) return "sum is too small";
  p.x_stride = p.residual_stride = p.y_stride = p.sum_stride = p.shape.n * p.shape.inner;
  fill_units(p.shape, is_columns, prepared);
  if (is_columns) {
    const PanelUse read = read_same(p.x_stride), write = write_same(p.x_stride);
    prepared.uses = {read, {}, {}, read, write, write};
  }
  prepared.params = std::move(n);
  return "";
}

RunStatus run_norm(const void* params, const RunContext& context) {
  const auto& n = *static_cast<const Norm*>(params);
  NormParams p = n.params;
  p.x = as<float>(context, 0);
  p.scale = as<float>(context, 1);
  p.bias = as<float>(context, 2);
  p.residual = as<float>(context, 3);
  p.y = as_mutable<float>(context, 4);
  p.sum = as_mutable<float>(context, 5);
  n.row->norm(p, context.begin, context.end);
  return {};
}

// ---- group_norm: operands x, scale, bias, y. params: samples, channels, positions, groups,
// epsilon, lanes (0 = rows).
struct GroupNorm {
  const ReduceRow* row;
  GroupNormParams params;
};

std::string prepare_group_norm(PrepareContext& context, Prepared& prepared) {
  auto g = std::make_shared<GroupNorm>();
  g->row = &kernels::choose_reduce(context.isa);
  GroupNormParams& p = g->params;
  p = {};
  ParamReader& in = context.params;
  p.samples = in.integer();
  p.channels = in.integer();
  p.positions = in.integer();
  p.groups = in.integer();
  p.epsilon = in.real32();
  p.lanes = in.integer();
  if (p.samples < 1 || p.channels < 1 || p.positions < 1 || p.groups < 1 || p.lanes < 0) {
    return "group_norm sizes out of range";
  }
  if (p.channels % p.groups != 0) return "groups does not divide the channels";
  const int64_t columns = checked_product({p.samples, p.positions});
  const int64_t elements = p.lanes == 0 ? checked_product({columns, p.channels})
                                        : panel_floats(p.channels, columns, p.lanes);
  const auto& o = context.operands;
  if (o.size() != 4) return "group_norm takes 4 operands";
  if (!holds_floats(o[0], elements)) return "x is too small";
  if (!holds_floats(o[1], p.channels)) return "scale is too small";
  if (!holds_floats(o[2], p.channels)) return "bias is too small";
  if (!holds_floats(o[3], elements)) return "y is too small";
  p.x_panel_stride = p.y_panel_stride = p.channels * p.lanes;
  prepared.units = p.samples * p.groups;
  prepared.params = std::move(g);
  return "";
}

RunStatus run_group_norm(const void* params, const RunContext& context) {
  const auto& g = *static_cast<const GroupNorm*>(params);
  GroupNormParams p = g.params;
  p.x = as<float>(context, 0);
  p.scale = as<float>(context, 1);
  p.bias = as<float>(context, 2);
  p.y = as_mutable<float>(context, 3);
  g.row->group_norm(p, context.begin, context.end);
  return {};
}

constexpr Op kOps[] = {
    {"reduce", &prepare_reduce, &run_reduce, kLast},
    {"softmax", &prepare_softmax, &run_softmax, kLast},
    {"norm", &prepare_norm, &run_norm, {4, 2}},
    {"group_norm", &prepare_group_norm, &run_group_norm, {3, 1}},
};

}  // namespace

std::span<const Op> reduce_ops() { return kOps; }

}  // namespace colonnade::exec

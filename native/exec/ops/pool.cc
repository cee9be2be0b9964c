// Adapters of the pool family. operands: x, y. pool_window's units are panels when its last
// parameter says so, else channels of an image.
#include "kernels/pool/pool.h"

#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/pool_params.h"

namespace colonnade::exec {
namespace {

using kernels::GlobalPoolParams;
using kernels::PoolKind;
using kernels::PoolParams;
using kernels::PoolRow;

struct Window {
  const PoolRow* row;
  PoolParams params;
  bool by_panels;
};

std::string prepare_window(PrepareContext& context, Prepared& prepared) {
  auto w = std::make_shared<Window>();
  w->row = &kernels::choose_pool(context.isa);
  ParamReader& in = context.params;
  PoolParams& p = w->params;
  if (std::string error = read_pool_params(in, p); !error.empty()) return error;
  w->by_panels = in.integer() != 0;
  if (context.operands.size() != 2) return "pooling takes 2 operands";
  const int64_t lanes = w->row->panel_lanes;
  const int64_t in_floats =
      panel_floats(p.channels, checked_product({p.batch, p.in_h, p.in_w}), lanes);
  const int64_t out_floats =
      panel_floats(p.channels, checked_product({p.batch, p.out_h, p.out_w}), lanes);
  if (!holds_floats(context.operands[0], in_floats)) return "x is too small";
  if (!holds_floats(context.operands[1], out_floats)) return "y is too small";
  prepared.units = p.batch * p.channels;
  if (w->by_panels) {
    prepared.units = ceil_div(p.batch * p.out_h * p.out_w, lanes);
    prepared.units_per_panel = 1;
    prepared.uses = {read_reach(p.channels * lanes), write_same(p.channels * lanes)};
    prepared.reach = pool_reach(p, lanes);
  }
  prepared.scratch_bytes = 4 * kernels::pool_scratch_floats(p);
  prepared.params = std::move(w);
  return "";
}

RunStatus run_window(const void* params, const RunContext& context) {
  const auto& w = *static_cast<const Window*>(params);
  PoolParams p = w.params;
  p.x = as<float>(context, 0);
  p.y = as_mutable<float>(context, 1);
  const auto run = w.by_panels ? w.row->panels : w.row->window;
  run(p, context.begin, context.end, reinterpret_cast<float*>(context.scratch));
  return {};
}

struct Global {
  const PoolRow* row;
  GlobalPoolParams params;
};

std::string prepare_global(PrepareContext& context, Prepared& prepared) {
  auto g = std::make_shared<Global>();
  g->row = &kernels::choose_pool(context.isa);
  ParamReader& in = context.params;
  GlobalPoolParams& p = g->params;
  p = {};
  const int64_t kind = in.integer();
  if (kind < 0 || kind > 2) return "unknown kind of pooling";
  p.kind = static_cast<PoolKind>(kind);
  p.batch = in.integer();
  p.features = in.integer();
  p.inner = in.integer();
  if (context.operands.size() != 2) return "pooling takes 2 operands";
  const int64_t columns = checked_product({p.batch, p.inner});
  if (p.batch < 1 || p.features < 1 || p.inner < 1) return "pooling sizes out of range";
  const int64_t floats = panel_floats(p.features, columns, g->row->panel_lanes);
  if (!holds_floats(context.operands[0], floats)) return "x is too small";
  const int64_t results = checked_product({p.batch, p.features});
  if (!holds_floats(context.operands[1], results)) return "y is too small";
  prepared.units = results;
  prepared.params = std::move(g);
  return "";
}

RunStatus run_global(const void* params, const RunContext& context) {
  const auto& g = *static_cast<const Global*>(params);
  GlobalPoolParams p = g.params;
  p.x = as<float>(context, 0);
  p.y = as_mutable<float>(context, 1);
  g.row->global(p, context.begin, context.end);
  return {};
}

constexpr Op kOps[] = {
    {"pool_window", &prepare_window, &run_window, kLast},
    {"pool_global", &prepare_global, &run_global, kLast},
};

}  // namespace

std::span<const Op> pool_ops() { return kOps; }

}  // namespace colonnade::exec

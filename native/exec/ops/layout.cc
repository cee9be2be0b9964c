// Adapters between row-major tensors and column panels.
#include "kernels/layout/layout.h"

#include "exec/op.h"
#include "exec/ops/check.h"

namespace colonnade::exec {
namespace {

// params: outer, features, inner. operands: source, destination.
struct Layout {
  const kernels::LayoutRow* row;
  kernels::LayoutParams params;
};

std::string prepare(PrepareContext& context, Prepared& prepared, bool to_panels) {
  auto p = std::make_shared<Layout>();
  p->row = &kernels::choose_layout(context.isa);
  p->params.outer = context.params.integer();
  p->params.features = context.params.integer();
  p->params.inner = context.params.integer();
  if (context.operands.size() != 2) return "layout takes 2 operands";
  const int64_t lanes = p->row->panel_lanes;
  const int64_t columns = checked_product({p->params.outer, p->params.inner});
  const int64_t rows = checked_product({columns, p->params.features});
  if (columns < 1 || rows < 1) return "layout sizes out of range";
  const int64_t panels = panel_floats(p->params.features, columns, lanes);
  if (!holds_floats(context.operands[0], to_panels ? rows : panels)) return "source is too small";
  if (!holds_floats(context.operands[1], to_panels ? panels : rows)) {
    return "destination is too small";
  }
  p->params.panel_stride = p->params.features * lanes;
  prepared.units = ceil_div(columns, lanes);
  prepared.units_per_panel = 1;
  const int64_t floats = p->params.panel_stride;
  prepared.uses = {to_panels ? PanelUse{} : read_same(floats), write_same(to_panels ? floats : 0)};
  prepared.params = std::move(p);
  return "";
}

std::string prepare_to_panels(PrepareContext& context, Prepared& prepared) {
  return prepare(context, prepared, true);
}

std::string prepare_from_panels(PrepareContext& context, Prepared& prepared) {
  return prepare(context, prepared, false);
}

RunStatus run_to_panels(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Layout*>(params);
  p.row->to_panels(p.params, as<float>(context, 0), as_mutable<float>(context, 1), context.begin,
                   context.end);
  return {};
}

RunStatus run_from_panels(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Layout*>(params);
  p.row->from_panels(p.params, as<float>(context, 0), as_mutable<float>(context, 1), context.begin,
                     context.end);
  return {};
}

constexpr Op kOps[] = {
    {"rows_to_columns", &prepare_to_panels, &run_to_panels, kLast},
    {"columns_to_rows", &prepare_from_panels, &run_from_panels, kLast},
};

}  // namespace

std::span<const Op> layout_ops() { return kOps; }

}  // namespace colonnade::exec

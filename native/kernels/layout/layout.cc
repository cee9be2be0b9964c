#include "kernels/layout/layout.h"

namespace colonnade {

#define LAYOUT_ROW(name, space, isa, lanes)                                                      \
  namespace space {                                                                              \
  void name##_to_panels(const kernels::LayoutParams&, const float*, float*, int64_t, int64_t);   \
  void name##_from_panels(const kernels::LayoutParams&, const float*, float*, int64_t, int64_t); \
  }
#include "kernels/layout/kernels.inc"
#undef LAYOUT_ROW

namespace kernels {
namespace {

constexpr LayoutRow kRows[] = {
#define LAYOUT_ROW(name, space, isa, lanes) \
  {#name, Isa::isa, lanes, &space::name##_to_panels, &space::name##_from_panels},
#include "kernels/layout/kernels.inc"
#undef LAYOUT_ROW
};

}  // namespace

std::span<const LayoutRow> layout_rows() { return kRows; }

const LayoutRow& choose_layout(Isa isa) {
  const LayoutRow* best = &kRows[0];
  for (const LayoutRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

int64_t panel_lanes(Isa isa) { return choose_layout(isa).panel_lanes; }

}  // namespace kernels
}  // namespace colonnade

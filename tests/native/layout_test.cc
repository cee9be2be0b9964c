// Layout kernels: every element lands where the contract says, there and back.
#include "kernels/layout/layout.h"

#include "check.h"
#include "dense.h"

using namespace colonnade;

namespace {

void check_layout(const kernels::LayoutRow& row, int64_t outer, int64_t features, int64_t inner) {
  const int64_t lanes = row.panel_lanes;
  const int64_t columns = outer * inner;
  const int64_t panels = test::panels_of(columns, lanes);
  const kernels::LayoutParams params{outer, features, inner, (features + 1) * lanes};
  test::Random random(static_cast<uint64_t>(outer * 7919 + features * 31 + inner));
  const test::Buffer rows(outer * features * inner, random);
  test::Buffer packed(panels * params.panel_stride, -7.0f);
  for (int64_t panel = 0; panel < panels; ++panel) {
    row.to_panels(params, rows.data(), packed.data(), panel, panel + 1);
  }
  bool placed = true;
  for (int64_t f = 0; f < features; ++f) {
    for (int64_t l = 0; l < panels * lanes; ++l) {
      const float expected =
          l < columns ? rows[(l / inner * features + f) * inner + l % inner] : 0.0f;
      placed &= packed[test::panel_index(f, l, params.panel_stride, lanes)] == expected;
    }
  }
  EXPECT(placed);
  EXPECT(packed.intact());
  bool untouched = true;
  for (int64_t panel = 0; panel < panels; ++panel) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      untouched &= packed[panel * params.panel_stride + features * lanes + lane] == -7.0f;
    }
  }
  EXPECT(untouched);
  test::Buffer back(rows.size());
  row.from_panels(params, packed.data(), back.data(), 0, panels);
  bool equal = true;
  for (int64_t i = 0; i < rows.size(); ++i) equal &= back[i] == rows[i];
  EXPECT(equal);
  EXPECT(back.intact());
}

}  // namespace

int main() {
  for (const kernels::LayoutRow& row : kernels::layout_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    EXPECT(kernels::panel_lanes(row.isa) == row.panel_lanes);
    for (const int64_t outer : {1, 2, 3, 17, 130}) {
      for (const int64_t features : {1, 3, 4, 7, 8, 9, 15, 16, 17, 33}) {
        for (const int64_t inner : {1, 2, 5, 16, 49, 64, 65}) {
          check_layout(row, outer, features, inner);
        }
      }
    }
  }
  return test::finish();
}

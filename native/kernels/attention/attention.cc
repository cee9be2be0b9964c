#include "kernels/attention/attention.h"

namespace colonnade {

#define ATTENTION_ROW(name, space, isa, rows, lanes)                                      \
  namespace space {                                                                       \
  void name(const kernels::AttentionParams&, int64_t begin, int64_t end, float* scratch); \
  }
#include "kernels/attention/kernels.inc"
#undef ATTENTION_ROW

namespace kernels {
namespace {

constexpr AttentionRow kRows[] = {
#define ATTENTION_ROW(name, space, isa, rows, lanes) {#name, Isa::isa, rows, lanes, &space::name},
#include "kernels/attention/kernels.inc"
#undef ATTENTION_ROW
};

}  // namespace

std::span<const AttentionRow> attention_rows() { return kRows; }

const AttentionRow& choose_attention(Isa isa) {
  const AttentionRow* best = &kRows[0];
  for (const AttentionRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

int64_t attention_units(const AttentionRow& row, const AttentionParams& p) {
  return p.batch * p.heads * ((p.queries + row.panel_lanes - 1) / row.panel_lanes);
}

int64_t attention_scratch_floats(const AttentionRow& row, const AttentionParams& p) {
  return kAttentionScores + (p.depth + p.value_depth + 3) * row.panel_lanes;
}

}  // namespace kernels
}  // namespace colonnade

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

// Keys whose scores are held at once: 256 keys x 64 queries fill 64 KB of L2.
constexpr int64_t kKeyBlock = 256;

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
  return (p.depth + p.value_depth + kKeyBlock + 3) * row.panel_lanes;
}

}  // namespace kernels
}  // namespace colonnade

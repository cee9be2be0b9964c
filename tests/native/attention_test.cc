// Attention reads no float past its operands, writes none past its columns, and gives the same bits
// however its units are dealt.
#include "kernels/attention/attention.h"

#include <algorithm>
#include <cstring>

#include "check.h"
#include "dense.h"
#include "fenced.h"

using namespace colonnade;
using kernels::AttentionParams;
using kernels::AttentionRow;
using test::FencedFloats;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A fence behind every operand. Columns past the last hold NaN.
struct Case {
  const AttentionRow& row;
  AttentionParams params;
  FencedFloats q, k, v, mask, y;
  Case(const AttentionRow& kernel, const AttentionParams& sizes, test::Random& random)
      : row(kernel),
        params(sizes),
        q(floats(sizes.heads * sizes.depth, sizes.batch * sizes.queries)),
        k(floats(sizes.kv_heads * sizes.depth, sizes.batch * sizes.keys)),
        v(floats(sizes.kv_heads * sizes.value_depth, sizes.batch * sizes.keys)),
        mask(sizes.queries * sizes.keys),
        y(floats(sizes.heads * sizes.value_depth, sizes.batch * sizes.queries), kUnwritten) {
    fill(q, params.heads * params.depth, params.batch * params.queries, random);
    fill(k, params.kv_heads * params.depth, params.batch * params.keys, random);
    fill(v, params.kv_heads * params.value_depth, params.batch * params.keys, random);
    for (int64_t i = 0; i < mask.size(); ++i) mask[i] = random.next();
    params.q = q.data(), params.k = k.data(), params.v = v.data(), params.y = y.data();
    params.mask = mask.data();
    params.mask_strides = {0, 0, params.keys, 1};
    params.q_band = {params.heads * params.depth, 0};
    params.k_band = {params.kv_heads * params.depth, 0};
    params.v_band = {params.kv_heads * params.value_depth, 0};
    params.y_band = {params.heads * params.value_depth, 0};
  }
  static constexpr float kUnwritten = 12345.0f;
  int64_t floats(int64_t features, int64_t columns) const {
    return test::panels_of(columns, row.panel_lanes) * features * row.panel_lanes;
  }
  void fill(FencedFloats& to, int64_t features, int64_t columns, test::Random& random) const {
    const int64_t lanes = row.panel_lanes;
    for (int64_t i = 0; i < to.size(); ++i) {
      const int64_t column = i / (features * lanes) * lanes + i % lanes;
      to[i] = column < columns ? random.next() : kNaN;
    }
  }
  // Runs `step` units at a time.
  void run(int64_t step) {
    test::Buffer scratch(kernels::attention_scratch_floats(row, params), kNaN);
    const int64_t units = kernels::attention_units(row, params);
    for (int64_t unit = 0; unit < units; unit += step) {
      row.run(params, unit, std::min(unit + step, units), scratch.data());
    }
    EXPECT(scratch.intact());
  }
  // Every output that exists is a number; the others are as they were.
  bool is_filled() const {
    const int64_t lanes = row.panel_lanes, features = params.heads * params.value_depth;
    for (int64_t i = 0; i < y.size(); ++i) {
      const int64_t column = i / (features * lanes) * lanes + i % lanes;
      const bool exists = column < params.batch * params.queries;
      if (exists ? !(std::fabs(y[i]) <= 1.01f) : y[i] != kUnwritten) return false;
    }
    return true;
  }
};

void test_sizes(const AttentionRow& row, const AttentionParams& sizes) {
  test::Random random(11);
  Case together(row, sizes, random);
  test::Random again(11);
  Case apart(row, sizes, again);
  together.run(1 << 20);
  apart.run(1);
  EXPECT(together.is_filled());
  const auto bytes = static_cast<size_t>(together.y.size()) * sizeof(float);
  EXPECT(std::memcmp(together.y.data(), apart.y.data(), bytes) == 0);
}

void test_row(const AttentionRow& row) {
  for (const int64_t keys : {1, 15, 64, 65, 255, 256, 257, 300}) {
    for (const int64_t queries : {1, 17, 64, 100}) {
      for (const int64_t depth : {1, 7, 12}) {
        AttentionParams p = {};
        p.batch = 2, p.heads = 4, p.kv_heads = 2;
        p.queries = queries, p.keys = keys, p.depth = depth, p.value_depth = depth + 3;
        p.scale = 0.5f;
        test_sizes(row, p);
        p.causal = true;
        p.causal_offset = keys / 2;
        test_sizes(row, p);
      }
    }
  }
}

}  // namespace

int main() {
  const Isa best = best_isa(detect_cpu_features());
  for (const AttentionRow& row : kernels::attention_rows()) {
    if (row.isa <= best) test_row(row);
  }
  return test::finish();
}

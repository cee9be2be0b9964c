// Matrix products against float64 at tile edges; any split of the work gives the same bits.
#include "kernels/matmul/matmul.h"

#include "check.h"
#include "dense.h"

using namespace colonnade;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Columns {
  kernels::MatmulParams params = {};
  test::Buffer weights, bias, x, residual, packed;
  Columns(const kernels::MatmulRow& row, int64_t m, int64_t k, int64_t l, test::Random& random)
      : weights(m * k, random),
        bias(m, random),
        x(test::random_panels(k, l, (k + 1) * row.panel_lanes, row.panel_lanes, random)),
        residual(test::random_panels(m, l, (m + 2) * row.panel_lanes, row.panel_lanes, random)),
        packed(m * k) {
    params.m = m;
    params.k = k;
    params.l = l;
    params.w = packed.data();
    params.x = x.data();
    params.x_panel_stride = (k + 1) * row.panel_lanes;
    params.y_panel_stride = (m + 3) * row.panel_lanes;
    params.residual_panel_stride = (m + 2) * row.panel_lanes;
    params.lo = -kInfinity;
    params.hi = kInfinity;
    kernels::pack_matmul_weights(weights.data(), k, 1, m, k, row.tile_rows, packed.data());
  }
};

bool is_product(const kernels::MatmulRow& row, const Columns& c, const test::Buffer& y) {
  const kernels::MatmulParams& p = c.params;
  const int64_t lanes = row.panel_lanes;
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t l = 0; l < p.l; ++l) {
      test::Sum sum;
      if (p.bias != nullptr) sum.add(c.bias[i]);
      if (p.residual != nullptr) {
        sum.add(c.residual[test::panel_index(i, l, p.residual_panel_stride, lanes)]);
      }
      for (int64_t j = 0; j < p.k; ++j) {
        sum.add(c.weights[i * p.k + j], c.x[test::panel_index(j, l, p.x_panel_stride, lanes)]);
      }
      const float got = y[test::panel_index(i, l, p.y_panel_stride, lanes)];
      if (!sum.accepts(got, p.k, p.lo, p.hi)) return false;
    }
  }
  return true;
}

void check_columns(const kernels::MatmulRow& row, int64_t m, int64_t k, int64_t l, int variant) {
  test::Random random(static_cast<uint64_t>(m * 1000003 + k * 1009 + l));
  Columns c(row, m, k, l, random);
  if (variant & 1) c.params.bias = c.bias.data();
  if (variant & 2) c.params.residual = c.residual.data();
  if (variant & 4) c.params.lo = -0.25f, c.params.hi = 0.5f;
  const int64_t panels = test::panels_of(l, row.panel_lanes);
  const int64_t tiles = (m + row.tile_rows - 1) / row.tile_rows;
  test::Buffer y(panels * c.params.y_panel_stride);
  c.params.y = y.data();
  row.run(c.params, 0, panels, 0, tiles);
  if (!EXPECT(is_product(row, c, y))) {
    std::printf("%s m %ld k %ld l %ld variant %d\n", row.name, static_cast<long>(m),
                static_cast<long>(k), static_cast<long>(l), variant);
  }
  EXPECT(y.intact());
  test::Buffer split(y.size());
  c.params.y = split.data();
  for (int64_t tile = tiles - 1; tile >= 0; --tile) {
    for (int64_t panel = panels - 1; panel >= 0; --panel) {
      row.run(c.params, panel, panel + 1, tile, tile + 1);
    }
  }
  EXPECT(test::same_columns(y, split, m, l, c.params.y_panel_stride, row.panel_lanes));
}

struct SeenRows {
  const kernels::MatmulParams* params;
  int64_t lanes;
  int64_t next_row = 0;
  int64_t panel = 0;
  bool in_order = true;
};

void record_rows(void* context, float* y_rows, int64_t panel, int64_t m0, int64_t m1) {
  auto& seen = *static_cast<SeenRows*>(context);
  if (panel != seen.panel) {
    seen.in_order &= panel == seen.panel + 1 && seen.next_row == seen.params->m;
    seen.panel = panel;
    seen.next_row = 0;
  }
  seen.in_order &= m0 == seen.next_row && m1 > m0;
  const float* expected = seen.params->y + panel * seen.params->y_panel_stride + m0 * seen.lanes;
  seen.in_order &= y_rows == expected;
  seen.next_row = m1;
  for (int64_t i = 0; i < (m1 - m0) * seen.lanes; ++i) y_rows[i] *= 2;
}

void check_epilogue(const kernels::MatmulRow& row, int64_t k) {
  test::Random random(7);
  const int64_t m = 61;
  const int64_t l = 3 * row.panel_lanes - 1;
  Columns c(row, m, k, l, random);
  test::Buffer plain(3 * c.params.y_panel_stride);
  test::Buffer doubled(3 * c.params.y_panel_stride);
  const int64_t tiles = (m + row.tile_rows - 1) / row.tile_rows;
  c.params.y = plain.data();
  row.run(c.params, 0, 3, 0, tiles);
  c.params.y = doubled.data();
  SeenRows seen{&c.params, row.panel_lanes};
  c.params.epilogue = &record_rows;
  c.params.epilogue_context = &seen;
  row.run(c.params, 0, 3, 0, tiles);
  EXPECT(seen.in_order && seen.panel == 2 && seen.next_row == m);
  for (int64_t i = 0; i < plain.size(); ++i) plain[i] *= 2;
  EXPECT(test::same_columns(plain, doubled, m, l, c.params.y_panel_stride, row.panel_lanes));
}

void check_packing(const kernels::MatmulRow& row) {
  test::Random random(3);
  const test::Buffer weights(23 * 19, random);
  test::Buffer packed(23 * 19);
  test::Buffer back(23 * 19);
  kernels::pack_matmul_weights(weights.data(), 1, 23, 23, 19, row.tile_rows, packed.data());
  kernels::unpack_matmul_weights(packed.data(), 23, 19, row.tile_rows, back.data(), 1, 23);
  bool equal = true;
  for (int64_t i = 0; i < 23 * 19; ++i) equal &= weights[i] == back[i];
  EXPECT(equal);
  EXPECT(packed.intact() && back.intact());
}

void check_nan_policy(const kernels::MatmulRow& row) {
  test::Random random(9);
  Columns c(row, 4, 3, 2, random);
  c.x[test::panel_index(1, 1, c.params.x_panel_stride, row.panel_lanes)] = NAN;
  test::Buffer y(c.params.y_panel_stride);
  c.params.y = y.data();
  c.params.lo = 0.0f;
  c.params.hi = 6.0f;
  row.run(c.params, 0, 1, 0, (4 + row.tile_rows - 1) / row.tile_rows);
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT(!std::isnan(y[i * row.panel_lanes]));
    EXPECT(std::isnan(y[i * row.panel_lanes + 1]));
  }
}

void check_rows(const kernels::RowsMatmulRow& row, int64_t l, int64_t m, int64_t k, bool has_bias) {
  test::Random random(static_cast<uint64_t>(l * 1000003 + m * 1009 + k));
  const test::Buffer x(l * (k + 2), random);
  const test::Buffer weights(m * k, random);
  const test::Buffer bias(m, random);
  test::Buffer packed(kernels::rows_packed_floats(m, k, row.tile_lanes));
  kernels::pack_rows_weights(weights.data(), k, 1, m, k, row.tile_lanes, packed.data());
  test::Buffer back(m * k);
  kernels::unpack_rows_weights(packed.data(), m, k, row.tile_lanes, back.data(), k, 1);
  for (int64_t i = 0; i < m * k; ++i) EXPECT(back[i] == weights[i]);
  test::Buffer y(l * (m + 5), 99.0f);
  kernels::RowsMatmulParams p = {};
  p.l = l;
  p.m = m;
  p.k = k;
  p.x = x.data();
  p.x_stride = k + 2;
  p.w = packed.data();
  p.bias = has_bias ? bias.data() : nullptr;
  p.y = y.data();
  p.y_stride = m + 5;
  p.lo = has_bias ? -0.5f : -kInfinity;
  p.hi = has_bias ? 0.25f : kInfinity;
  const int64_t tiles = (m + row.tile_lanes - 1) / row.tile_lanes;
  row.run(p, 0, l, 0, tiles);
  bool right = true;
  for (int64_t i = 0; i < l; ++i) {
    for (int64_t j = 0; j < m; ++j) {
      test::Sum sum;
      if (has_bias) sum.add(bias[j]);
      for (int64_t t = 0; t < k; ++t) sum.add(x[i * (k + 2) + t], weights[j * k + t]);
      right &= sum.accepts(y[i * (m + 5) + j], k, p.lo, p.hi);
    }
    for (int64_t j = m; j < m + 5; ++j) right &= y[i * (m + 5) + j] == 99.0f;
  }
  if (!EXPECT(right)) {
    std::printf("%s l %ld m %ld k %ld\n", row.name, static_cast<long>(l), static_cast<long>(m),
                static_cast<long>(k));
  }
  EXPECT(y.intact());
  test::Buffer split(y.size(), 99.0f);
  p.y = split.data();
  for (int64_t i = 0; i < l; ++i) {
    for (int64_t tile = 0; tile < tiles; ++tile) row.run(p, i, i + 1, tile, tile + 1);
  }
  bool same = true;
  for (int64_t i = 0; i < y.size(); ++i) same &= split[i] == y[i];
  EXPECT(same);
}

void check_general(const kernels::GeneralMatmulRow& row, int64_t m, int64_t n, int64_t k,
                   int transposes) {
  test::Random random(static_cast<uint64_t>(m * 1000003 + n * 1009 + k));
  const bool a_transposed = transposes & 1;
  const bool b_transposed = transposes & 2;
  const test::Buffer a(m * k, random);
  const test::Buffer b(k * n, random);
  test::Buffer c(m * (n + 3), 99.0f);
  kernels::GeneralMatmulParams p = {};
  p.m = m;
  p.n = n;
  p.k = k;
  p.a = a.data();
  p.a_stride_m = a_transposed ? 1 : k;
  p.a_stride_k = a_transposed ? m : 1;
  p.b = b.data();
  p.b_stride_k = b_transposed ? 1 : n;
  p.b_stride_n = b_transposed ? k : 1;
  p.c = c.data();
  p.c_stride_m = n + 3;
  p.scale = 0.5f;
  test::Buffer scratch(kernels::general_scratch_floats(row, n, k));
  row.run(p, 0, m, scratch.data());
  bool right = true;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      test::Sum sum;
      for (int64_t t = 0; t < k; ++t) {
        sum.add(0.5 * a[i * p.a_stride_m + t * p.a_stride_k],
                b[t * p.b_stride_k + j * p.b_stride_n]);
      }
      right &= sum.accepts(c[i * (n + 3) + j], k, -kInfinity, kInfinity);
    }
    for (int64_t j = n; j < n + 3; ++j) right &= c[i * (n + 3) + j] == 99.0f;
  }
  if (!EXPECT(right)) {
    std::printf("%s m %ld n %ld k %ld transposes %d\n", row.name, static_cast<long>(m),
                static_cast<long>(n), static_cast<long>(k), transposes);
  }
  EXPECT(c.intact() && scratch.intact());
  test::Buffer split(c.size(), 99.0f);
  p.c = split.data();
  for (int64_t i = 0; i < m; ++i) row.run(p, i, i + 1, scratch.data());
  bool same = true;
  for (int64_t i = 0; i < c.size(); ++i) same &= split[i] == c[i];
  EXPECT(same);
}

void check_all_columns(const kernels::MatmulRow& row) {
  const int64_t r = row.tile_rows;
  const int64_t lanes = row.panel_lanes;
  const int64_t vector = lanes / row.tile_vectors;
  int variant = 0;
  for (const int64_t m : {int64_t{1}, r - 1, r, r + 1, 4 * r - 2, 5 * r + 3}) {
    for (const int64_t k : {0, 1, 2, 17, 64}) {
      for (const int64_t l :
           {int64_t{1}, vector, vector + 1, vector + 2, 3 * vector + 1, 3 * vector + 2, 3 * vector,
            lanes - 1, lanes, lanes + 1, 2 * lanes + vector}) {
        check_columns(row, m, k, l, variant++ % 8);
      }
    }
  }
  check_columns(row, r + 1, 1023, lanes + 1, 1);
  check_columns(row, r + 1, 1024, lanes + 1, 7);
  check_columns(row, r + 1, 1025, 1, 5);
  check_columns(row, 2 * r, 3073, lanes, 7);
  check_epilogue(row, 5);
  check_epilogue(row, 1500);
  check_packing(row);
  check_nan_policy(row);
}

}  // namespace

int main() {
  for (const auto& row : kernels::matmul_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    check_all_columns(row);
  }
  for (const auto& row : kernels::rows_matmul_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    for (const int64_t l : {1, 2, 5, 6, 7, 13}) {
      for (const int64_t m : {1, 7, 8, 15, 16, 17, 63, 64, 65, 130}) {
        for (const int64_t k : {0, 1, 33}) check_rows(row, l, m, k, (l + m) % 2 == 0);
      }
    }
  }
  for (const auto& row : kernels::general_matmul_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    for (const int64_t m : {1, 5, 6, 7, 20}) {
      for (const int64_t n : {1, 15, 16, 17, 64, 65, 100}) {
        for (const int64_t k : {1, 16, 37, 513}) {
          for (const int transposes : {0, 1, 2, 3}) check_general(row, m, n, k, transposes);
        }
      }
    }
  }
  return test::finish();
}

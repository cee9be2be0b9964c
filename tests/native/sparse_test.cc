// Sparse products and convolutions against float64; packing, verification, and what zeros let
// through.
#include <cstring>
#include <vector>

#include "check.h"
#include "conv_case.h"
#include "kernels/sparse_matmul/sparse_matmul.h"

using namespace colonnade;
using kernels::SparseBucket;
using kernels::SparseGeometry;
using kernels::SparseKind;
using kernels::SparseMatmulRow;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Keeps a weight with probability `density`; whole rows and columns may be zero.
void impose_zeros(test::Buffer& weights, int64_t columns, double density, test::Random& random) {
  for (int64_t i = 0; i < weights.size(); ++i) {
    const bool is_zero_row = i / columns % 7 == 3;
    if (is_zero_row || random.next() >= 2 * density - 1) weights[i] = 0.0f;
  }
}

// The packed bytes between guards, at a multiple of 64.
class Packed {
 public:
  explicit Packed(const std::vector<std::byte>& bytes)
      : floats_(static_cast<int64_t>(bytes.size() / 4)), size_(bytes.size()) {
    std::memcpy(floats_.data(), bytes.data(), bytes.size());
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(floats_.data()); }
  std::span<const std::byte> span() { return {data(), size_}; }

 private:
  test::Buffer floats_;
  size_t size_;
};

struct Product {
  const SparseMatmulRow& row;
  kernels::SparseMatmulParams params = {};
  test::Buffer weights, bias, x, residual;
  Product(const SparseMatmulRow& kernel, const SparseGeometry& g, int64_t l, double density,
          test::Random& random)
      : row(kernel),
        weights(g.m * g.k, random),
        bias(g.m, random),
        x(test::random_panels(g.k, l, (g.k + 1) * row.panel_lanes, row.panel_lanes, random)),
        residual(
            test::random_panels(g.m, l, (g.m + 2) * row.panel_lanes, row.panel_lanes, random)) {
    impose_zeros(weights, g.k, density, random);
    params.geometry = g;
    params.l = l;
    params.x = x.data();
    params.x_panel_stride = (g.k + 1) * row.panel_lanes;
    params.y_panel_stride = (g.m + 3) * row.panel_lanes;
    params.residual_panel_stride = (g.m + 2) * row.panel_lanes;
    params.lo = -kInfinity;
    params.hi = kInfinity;
  }
  int64_t panels() const { return test::panels_of(params.l, row.panel_lanes); }
  test::Buffer make_output() const { return test::Buffer(panels() * params.y_panel_stride); }
  std::vector<std::byte> pack() const {
    return kernels::pack_sparse_weights(weights.data(), params.geometry, row.tile_rows,
                                        row.panel_lanes);
  }
  float y_at(const test::Buffer& y, int64_t i, int64_t l) const {
    return y[test::panel_index(i, l, params.y_panel_stride, row.panel_lanes)];
  }
};

bool is_product(const Product& c, const test::Buffer& y) {
  const SparseGeometry& g = c.params.geometry;
  const int64_t lanes = c.row.panel_lanes;
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t l = 0; l < c.params.l; ++l) {
      test::Sum sum;
      if (c.params.bias != nullptr) sum.add(c.bias[i]);
      if (c.params.residual != nullptr) {
        sum.add(c.residual[test::panel_index(i, l, c.params.residual_panel_stride, lanes)]);
      }
      for (int64_t j = 0; j < g.k; ++j) {
        const float weight = c.weights[i * g.k + j];
        if (weight == 0.0f) continue;
        sum.add(weight, c.x[test::panel_index(j, l, c.params.x_panel_stride, lanes)]);
      }
      if (!sum.accepts(c.y_at(y, i, l), g.k, c.params.lo, c.params.hi)) return false;
    }
  }
  return true;
}

bool unpacks(const Product& c, Packed& packed) {
  test::Buffer back(c.weights.size());
  kernels::unpack_sparse_weights(packed.data(), c.params.geometry, c.row.tile_rows,
                                 c.row.panel_lanes, back.data());
  for (int64_t i = 0; i < back.size(); ++i) {
    if (back[i] != c.weights[i]) return false;
  }
  return back.intact();
}

void check_product(const SparseMatmulRow& row, const SparseGeometry& g, int64_t l, double density,
                   int variant) {
  test::Random random(static_cast<uint64_t>(g.m * 1000003 + g.k * 1009 + l));
  Product c(row, g, l, density, random);
  if (variant & 1) c.params.bias = c.bias.data();
  if (variant & 2) c.params.residual = c.residual.data();
  if (variant & 4) c.params.lo = -0.25f, c.params.hi = 0.5f;
  Packed packed(c.pack());
  EXPECT(kernels::verify_sparse_weights(packed.span(), g, row.tile_rows, row.panel_lanes) ==
         nullptr);
  EXPECT(unpacks(c, packed));
  c.params.w = packed.data();
  test::Buffer y = c.make_output();
  c.params.y = y.data();
  row.run(c.params, 0, c.panels(), 0, g.tiles());
  if (!EXPECT(is_product(c, y))) {
    std::printf("%s m %ld k %ld block %ld l %ld density %g variant %d\n", row.name,
                static_cast<long>(g.m), static_cast<long>(g.k), static_cast<long>(g.k_block),
                static_cast<long>(l), density, variant);
  }
  EXPECT(y.intact());
  test::Buffer split = c.make_output();
  c.params.y = split.data();
  for (int64_t tile = g.tiles() - 1; tile >= 0; --tile) {
    for (int64_t panel = c.panels() - 1; panel >= 0; --panel) {
      row.run(c.params, panel, panel + 1, tile, tile + 1);
    }
  }
  EXPECT(test::same_columns(y, split, g.m, l, c.params.y_panel_stride, row.panel_lanes));
}

void check_products(const SparseMatmulRow& row) {
  const int64_t lanes = row.panel_lanes;
  int variant = 0;
  for (const int64_t m : {1, 2, 3, 4, 5, 63, 64, 65, 130}) {
    for (const int64_t k : {1, 3, 31, 32, 33, 97}) {
      for (const double density : {0.0, 0.02, 0.3, 1.0}) {
        const int64_t l = (variant * 7) % (5 * lanes + 2) + 1;
        check_product(row, {1, m, k, 32}, l, density, variant++ % 8);
      }
    }
  }
  for (const int64_t l : {int64_t{1}, lanes - 1, lanes, lanes + 1, 2 * lanes, 3 * lanes - 1,
                          3 * lanes, 3 * lanes + 1, 5 * lanes, 6 * lanes + 5}) {
    check_product(row, {1, 70, 130, 128}, l, 0.2, 3);
    check_product(row, {1, 70, 300, kernels::sparse_k_block_max(lanes)}, l, 0.05, 7);
  }
}

struct SeenRows {
  const Product* product;
  std::vector<int64_t> next_row;  // By panel.
  bool is_right = true;
};

void record_rows(void* context, float* y_rows, int64_t panel, int64_t m0, int64_t m1) {
  auto& seen = *static_cast<SeenRows*>(context);
  const auto& p = seen.product->params;
  const int64_t lanes = seen.product->row.panel_lanes;
  int64_t& next = seen.next_row[static_cast<size_t>(panel)];
  seen.is_right &= m0 == next && m1 > m0 && y_rows == p.y + panel * p.y_panel_stride + m0 * lanes;
  next = m1;
  for (int64_t i = 0; i < (m1 - m0) * lanes; ++i) y_rows[i] *= 2;
}

void check_epilogue(const SparseMatmulRow& row) {
  test::Random random(7);
  Product c(row, {1, 150, 70, 32}, 4 * row.panel_lanes - 1, 0.3, random);
  Packed packed(c.pack());
  c.params.w = packed.data();
  test::Buffer plain = c.make_output();
  test::Buffer doubled = c.make_output();
  c.params.y = plain.data();
  row.run(c.params, 0, 4, 0, c.params.geometry.tiles());
  c.params.y = doubled.data();
  SeenRows seen{&c, std::vector<int64_t>(4, 0)};
  c.params.epilogue = &record_rows;
  c.params.epilogue_context = &seen;
  row.run(c.params, 0, 4, 0, c.params.geometry.tiles());
  for (const int64_t next : seen.next_row) EXPECT(next == 150);
  EXPECT(seen.is_right);
  for (int64_t i = 0; i < plain.size(); ++i) plain[i] *= 2;
  EXPECT(test::same_columns(plain, doubled, 150, c.params.l, c.params.y_panel_stride,
                            row.panel_lanes));
}

// Buckets of a kind in all parts.
int64_t count_groups(Packed& packed, const SparseGeometry& g, int64_t tile_rows, SparseKind kind) {
  std::vector<int64_t> begins(static_cast<size_t>(g.parts() + 1));
  std::memcpy(begins.data(), packed.data(), begins.size() * 8);
  int64_t count = 0;
  for (size_t at = static_cast<size_t>(begins.front()); at < static_cast<size_t>(begins.back());) {
    SparseBucket bucket;
    std::memcpy(&bucket, packed.data() + at, sizeof bucket);
    const int64_t rows = bucket.kind == SparseKind::single ? 1 : tile_rows;
    const int64_t head = rows == 1 ? 4 : 2 * rows;
    const int64_t step = bucket.kind == SparseKind::lockstep ? 6 * rows : 4 + 4 * rows;
    at += sizeof bucket + bucket.groups * static_cast<size_t>(head + bucket.steps * step);
    if (bucket.kind == kind) count += bucket.groups;
  }
  return count;
}

// Four rows with the same columns are one group whose loads are shared, wherever the rows are.
void check_shared_columns(const SparseMatmulRow& row) {
  test::Random random(5);
  const SparseGeometry g{1, 64, 96, 32};
  Product c(row, g, row.panel_lanes + 3, 1.0, random);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.k; ++j) {
      const bool is_kept = (i % 16 * 31 + j * 17) % 5 == 0;  // Rows 16 apart are alike.
      c.weights[i * g.k + j] = is_kept ? random.next() + 2.0f : 0.0f;
    }
  }
  Packed packed(c.pack());
  EXPECT(count_groups(packed, g, row.tile_rows, SparseKind::shared) > 0);
  EXPECT(count_groups(packed, g, row.tile_rows, SparseKind::lockstep) == 0);
  EXPECT(unpacks(c, packed));
  c.params.w = packed.data();
  test::Buffer y = c.make_output();
  c.params.y = y.data();
  row.run(c.params, 0, c.panels(), 0, g.tiles());
  EXPECT(is_product(c, y));
}

// Rows of very different length in one group: what fills the short ones multiplies nothing new.
void check_nan_policy(const SparseMatmulRow& row, float bad) {
  test::Random random(9);
  const SparseGeometry g{1, 8, 40, 40};
  Product c(row, g, row.panel_lanes, 1.0, random);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.k; ++j) {
      c.weights[i * g.k + j] = j <= i * 4 + 1 && j % 2 == 1 ? 0.5f : 0.0f;
    }
  }
  for (int64_t l = 0; l < c.params.l; ++l) {
    c.x[test::panel_index(l % g.k, l, c.params.x_panel_stride, row.panel_lanes)] = bad;
  }
  Packed packed(c.pack());
  c.params.w = packed.data();
  test::Buffer y = c.make_output();
  c.params.y = y.data();
  row.run(c.params, 0, 1, 0, 1);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t l = 0; l < c.params.l; ++l) {
      const bool is_multiplied = c.weights[i * g.k + l % g.k] != 0.0f;
      EXPECT(std::isfinite(c.y_at(y, i, l)) != is_multiplied);
    }
  }
}

// Halving a weight must be exact: rows of tiny and huge weights next to long rows.
void check_extreme_weights(const SparseMatmulRow& row) {
  test::Random random(11);
  const SparseGeometry g{1, 12, 64, 64};
  for (const float weight : {0x1p-149f, 0x1p-126f, 0x1p-125f, 0x1.fffffep+127f, kInfinity}) {
    Product c(row, g, 5, 1.0, random);
    for (int64_t i = 0; i < g.m; ++i) {
      for (int64_t j = 0; j < g.k; ++j) c.weights[i * g.k + j] = j < 5 * i ? 1.0f : 0.0f;
      c.weights[i * g.k] = weight;
    }
    Packed packed(c.pack());
    EXPECT(unpacks(c, packed));
    EXPECT(kernels::verify_sparse_weights(packed.span(), g, row.tile_rows, row.panel_lanes) ==
           nullptr);
  }
}

// Every damaged byte is refused, or leads nowhere outside of the buffers.
void check_damage(const SparseMatmulRow& row) {
  test::Random random(13);
  const SparseGeometry g{1, 9, 20, 8};
  Product c(row, g, 3, 0.4, random);
  const std::vector<std::byte> good = c.pack();
  const auto is_good = [&](const std::vector<std::byte>& bytes) {
    return kernels::verify_sparse_weights(bytes, g, row.tile_rows, row.panel_lanes) == nullptr;
  };
  EXPECT(is_good(good));
  EXPECT(!is_good({good.begin(), good.end() - 4}));
  EXPECT(!is_good({}));
  int64_t refused = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    for (const int bit : {0, 3, 7}) {
      std::vector<std::byte> bytes = good;
      bytes[at] ^= static_cast<std::byte>(1 << bit);
      if (!is_good(bytes)) {
        ++refused;
        continue;
      }
      Packed packed(bytes);
      c.params.w = packed.data();
      test::Buffer y = c.make_output();
      c.params.y = y.data();
      row.run(c.params, 0, 1, 0, 1);
      EXPECT(y.intact());
    }
  }
  EXPECT(refused > static_cast<int64_t>(good.size()) / 2);
}

// One weight in one row: begin[2], then bucket, row, 0, offset, 0, weight.
void check_named_damage(const SparseMatmulRow& row) {
  const SparseGeometry g{1, 1, 8, 8};
  const float weights[8] = {0, 0, 0, 0, 0, 0, 0, 1};
  const auto good = kernels::pack_sparse_weights(weights, g, row.tile_rows, row.panel_lanes);
  const auto refuses = [&](size_t at, uint16_t value) {
    std::vector<std::byte> bytes = good;
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return kernels::verify_sparse_weights(bytes, g, row.tile_rows, row.panel_lanes) != nullptr;
  };
  constexpr size_t kEnd = 8, kRow = 24, kOffset = 28;
  const auto line = static_cast<uint16_t>(row.panel_lanes * 4);
  EXPECT(!refuses(kOffset, static_cast<uint16_t>(7 * line)));
  EXPECT(refuses(kOffset, static_cast<uint16_t>(8 * line)));  // Past the depth block.
  EXPECT(refuses(kOffset, static_cast<uint16_t>(line + 4)));  // Inside of a row of X.
  EXPECT(refuses(kRow, 1));                                   // No such row.
  EXPECT(refuses(kEnd, 16));                                  // An empty part: y stays unwritten.
}

// A row that comes twice would be written by two groups, another one by none.
void check_double_row(const SparseMatmulRow& row) {
  const SparseGeometry g{1, 2, 1, 1};
  const float weights[2] = {1, 2};
  auto bytes = kernels::pack_sparse_weights(weights, g, row.tile_rows, row.panel_lanes);
  const auto is_good = [&] {
    return kernels::verify_sparse_weights(bytes, g, row.tile_rows, row.panel_lanes) == nullptr;
  };
  EXPECT(is_good());
  // Two rows are a shared group of two, or two singles behind one bucket.
  constexpr size_t kFirstRow = 24;
  const size_t second = row.tile_rows == 2 ? kFirstRow + 2 : kFirstRow + 12;
  std::memcpy(bytes.data() + second, bytes.data() + kFirstRow, 2);
  EXPECT(!is_good());
}

// ---- convolution

void check_conv(const kernels::SparseConvRow& row, const kernels::ConvShape& s,
                int64_t block_channels, double density, int variant) {
  test::Random random(static_cast<uint64_t>(s.channels * 10007 + s.in_w * 101 + s.kernel_w));
  test::Case c(s, row.panel_lanes, variant, random);
  const int64_t channels = s.channels / s.group;
  const int64_t taps = s.kernel_h * s.kernel_w;
  impose_zeros(c.weights, channels * taps, density, random);
  const SparseGeometry g{s.group, s.out_channels / s.group, channels * taps, block_channels * taps};
  // [out][channel][tap] to [out][block][tap][channel].
  std::vector<float> ordered;
  for (int64_t out = 0; out < s.out_channels; ++out) {
    for (int64_t c0 = 0; c0 < channels; c0 += block_channels) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t i = c0; i < std::min(c0 + block_channels, channels); ++i) {
          ordered.push_back(c.weights[(out * channels + i) * taps + tap]);
        }
      }
    }
  }
  Packed packed(kernels::pack_sparse_weights(ordered.data(), g, row.tile_rows, row.panel_lanes));
  EXPECT(kernels::verify_sparse_weights(packed.span(), g, row.tile_rows, row.panel_lanes) ==
         nullptr);
  kernels::SparseConvParams p = {c.params, g, block_channels, packed.data()};
  test::Buffer scratch(kernels::sparse_conv_scratch_bytes(row, p) / 4 + 1, NAN);
  test::Buffer y = c.make_output();
  p.conv.y = y.data();
  row.run(p, 0, c.panels(), 0, g.tiles(), scratch.data());
  if (!EXPECT(test::is_right(c, y, false))) test::print_shape(row.name, s);
  EXPECT(y.intact() && scratch.intact());
  test::Buffer split = c.make_output();
  p.conv.y = split.data();
  for (int64_t tile = g.tiles() - 1; tile >= 0; --tile) {
    for (int64_t panel = c.panels() - 1; panel >= 0; --panel) {
      row.run(p, panel, panel + 1, tile, tile + 1, scratch.data());
    }
  }
  EXPECT(c.same(y, split));
}

void check_convs(const kernels::SparseConvRow& row) {
  int variant = 0;
  test::for_each_geometry([&](kernels::ConvShape s, int64_t pad_end) {
    if (!test::finish_conv(s, pad_end)) return;
    s.group = variant % 3 == 0 ? 2 : 1;
    s.channels = s.group * 3;
    s.out_channels = s.group * (variant % 2 == 0 ? 5 : 66);
    check_conv(row, s, variant % 4 == 0 ? 3 : 2, variant % 5 == 0 ? 0.9 : 0.25, variant % 8);
    ++variant;
  });
}

}  // namespace

int main() {
  for (const auto& row : kernels::sparse_matmul_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    check_products(row);
    check_epilogue(row);
    check_shared_columns(row);
    check_nan_policy(row, NAN);
    check_nan_policy(row, kInfinity);
    check_extreme_weights(row);
    check_damage(row);
    check_named_damage(row);
    check_double_row(row);
  }
  for (const auto& row : kernels::sparse_conv_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    check_convs(row);
  }
  return test::finish();
}

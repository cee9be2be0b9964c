// The emulated AMX tiles against the definition of their instructions, and dispatch of AMX rows.
#include <cstring>

#include "check.h"
#include "dense.h"
#include "kernels/qmatmul/qmatmul.h"
#include "kernels/qmatmul/tile_config.h"

namespace colonnade {
namespace {

#include "kernels/qmatmul/tiles_emulated.inc"

constexpr int kC = 0, kA = 4, kB = 6;

TileConfig shapes(uint8_t m, uint8_t k, uint8_t n) {
  TileConfig config = {};
  config.palette = 1;
  config.rows[kC] = config.rows[kA] = m;
  config.rows[kB] = k;
  config.colsb[kA] = static_cast<uint16_t>(4 * k);
  config.colsb[kB] = config.colsb[kC] = static_cast<uint16_t>(4 * n);
  return config;
}

std::vector<uint8_t> random_bytes(size_t count, test::Random& random) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(128 + 128 * random.next());
  return bytes;
}

void test_dot(uint8_t m, uint8_t k, uint8_t n) {
  test::Random random(m * 100u + k * 10u + n);
  const int64_t stride = 80;
  std::vector<uint8_t> a = random_bytes(16 * stride, random), b = random_bytes(16 * stride, random);
  a[0] = 0x80;  // -128 times 255.
  b[0] = 0xff;
  Tiles tiles(shapes(m, k, n));
  tiles.load<kA>(a.data(), stride);
  tiles.load<kB>(b.data(), stride);
  tiles.dot<kC, kA, kB>();
  tiles.dot<kC, kA, kB>();
  std::vector<int32_t> c(16 * 16, -7);
  tiles.store<kC>(c.data(), 64);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 16; ++column) {
      int32_t sum = 0;
      for (int i = 0; i < 4 * k; ++i) {
        sum += static_cast<int8_t>(a[static_cast<size_t>(row * stride + i)]) *
               b[static_cast<size_t>(i / 4 * stride + 4 * column + i % 4)];
      }
      const int32_t expected = row < m && column < n ? 2 * sum : -7;
      EXPECT(c[static_cast<size_t>(row * 16 + column)] == expected);
    }
  }
}

void test_loads_clear_what_is_outside() {
  Tiles tiles(shapes(2, 3, 5));
  std::memset(tiles.tile, 0xff, sizeof tiles.tile);
  const std::vector<uint8_t> from(16 * 64, 1);
  tiles.load<kA>(from.data(), 64);
  EXPECT(tiles.tile[kA][1][11] == 1 && tiles.tile[kA][1][12] == 0 && tiles.tile[kA][2][0] == 0);
}

void test_limits() {
  TileConfig good = shapes(16, 16, 16);
  EXPECT(is_valid(good) && fit_dot(good, kC, kA, kB));
  EXPECT(!fit_dot(good, kC, kA, kA) && !fit_dot(good, kA, kA, kB) && !fit_dot(good, kC, 5, kB));
  const auto with = [&](auto change) {
    TileConfig config = good;
    change(config);
    return config;
  };
  EXPECT(!is_valid(with([](TileConfig& c) { c.palette = 2; })));
  EXPECT(!is_valid(with([](TileConfig& c) { c.start_row = 1; })));
  EXPECT(!is_valid(with([](TileConfig& c) { c.reserved[13] = 1; })));
  EXPECT(!is_valid(with([](TileConfig& c) { c.rows[kA] = 17; })));
  EXPECT(!is_valid(with([](TileConfig& c) { c.rows[kA] = 0; })));
  EXPECT(!is_valid(with([](TileConfig& c) { c.colsb[kB] = 65; })));
  EXPECT(!is_valid(with([](TileConfig& c) { c.colsb[8] = 4, c.rows[8] = 1; })));
  EXPECT(!fit_dot(with([](TileConfig& c) { c.rows[kA] = 8; }), kC, kA, kB));
  EXPECT(!fit_dot(with([](TileConfig& c) { c.colsb[kA] = 60; }), kC, kA, kB));
  EXPECT(!fit_dot(with([](TileConfig& c) { c.colsb[kC] = 60; }), kC, kA, kB));
  EXPECT(!fit_dot(with([](TileConfig& c) { c.colsb[kB] = c.colsb[kC] = 62; }), kC, kA, kB));
}

// Whatever the machine, AMX is chosen where it is allowed, and its emulation never.
void test_dispatch() {
  for (int idx = 0; idx < kNumIsas; ++idx) {
    const auto& row = kernels::choose_byte_matmul(static_cast<Isa>(idx));
    EXPECT(!row.is_emulated && row.isa <= static_cast<Isa>(idx));
  }
#if defined(__x86_64__)
  EXPECT(kernels::choose_byte_matmul(Isa::amx).isa == Isa::amx);
#endif
  EXPECT(kernels::byte_matmul_rows().back().is_emulated);
}

}  // namespace
}  // namespace colonnade

int main() {
  using namespace colonnade;
  for (const int m : {1, 7, 16}) {
    for (const int k : {1, 5, 16}) {
      for (const int n : {1, 3, 16}) {
        test_dot(static_cast<uint8_t>(m), static_cast<uint8_t>(k), static_cast<uint8_t>(n));
      }
    }
  }
  test_loads_clear_what_is_outside();
  test_limits();
  test_dispatch();
  return test::finish();
}

// The arena: aligned, whole, counted, and never half-grown.
#include "runtime/arena.h"

#include <cstdint>
#include <cstring>
#include <utility>

#include "check.h"

namespace colonnade::runtime {
namespace {

bool is_usable(const Arena& arena, int64_t bytes) {
  const bool aligned = reinterpret_cast<uintptr_t>(arena.data()) % 64 == 0;
  if (!aligned || arena.bytes() < bytes) return false;
  std::memset(arena.data(), 0x5a, static_cast<size_t>(bytes));
  return arena.data()[bytes - 1] == std::byte{0x5a};
}

void test_grows_on_demand_only() {
  Arena arena;
  EXPECT(arena.data() == nullptr && arena.bytes() == 0);
  for (const int64_t bytes : {1, 64, 4096, 4097, 1 << 20}) {
    EXPECT(arena.reserve(bytes));
    EXPECT(is_usable(arena, bytes));
  }
  const std::byte* before = arena.data();
  const int64_t bytes = arena.bytes();
  EXPECT(arena.reserve(100) && arena.data() == before && arena.bytes() == bytes);
}

void test_nothing_needs_no_memory() {
  Arena arena;
  EXPECT(arena.reserve(0));
  EXPECT(arena.bytes() == 0);
}

void test_out_of_memory_leaves_it_usable() {
  Arena arena;
  EXPECT(arena.reserve(4096));
  EXPECT(!arena.reserve(int64_t{1} << 60));
  EXPECT(arena.bytes() == 0 && arena.data() == nullptr);
  EXPECT(arena.reserve(4096));
  EXPECT(is_usable(arena, 4096));
}

void test_moves() {
  Arena arena;
  EXPECT(arena.reserve(4096));
  const std::byte* data = arena.data();
  Arena taken(std::move(arena));
  EXPECT(taken.data() == data && is_usable(taken, 4096));
}

}  // namespace
}  // namespace colonnade::runtime

int main() {
  using namespace colonnade::runtime;
  test_grows_on_demand_only();
  test_nothing_needs_no_memory();
  test_out_of_memory_leaves_it_usable();
  test_moves();
  return colonnade::test::finish();
}

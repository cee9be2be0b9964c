#include "simd/portable.h"

#include "kernels/bytes/bytes.h"

namespace colonnade::portable {
namespace {

using RawBytes = uint8_t __attribute__((vector_size(16)));

inline IntVec max_bytes(IntVec a, IntVec b) {
  const auto x = reinterpret_cast<RawBytes>(a.raw), y = reinterpret_cast<RawBytes>(b.raw);
  return {reinterpret_cast<RawInt>(x > y ? x : y)};
}

inline void run_lookup(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = table[x[i]];
}

#include "kernels/bytes/bytes.inc"

}  // namespace

#define COLONNADE_ROW bytes_16_portable
#include "kernels/bytes/entry.inc"

}  // namespace colonnade::portable

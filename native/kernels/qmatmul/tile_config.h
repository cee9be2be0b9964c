// The tile instructions of AMX that products of bytes use (Intel's manual, "Intel AMX instructions
// reference"), as members of a type `Tiles` with two implementations: tiles_amx.inc executes them,
// tiles_emulated.inc does the same in plain C++.
//
//   Tiles(config)              LDTILECFG: shapes of the eight tiles, all zero
//   release()                  TILERELEASE (no destructor: exceptions would need code to unwind)
//   zero<T>()                  TILEZERO
//   load<T>(from, stride)      TILELOADD: rows of colsb bytes, `stride` bytes apart
//   store<T>(to, stride)       TILESTORED
//   dot<C, A, B>()             TDPBSUD: C[m][n] += A[m][k][i] * B[k][n][i], summed over k and i <
//   4,
//                              int32 C, int8 A, uint8 B; sums wrap
//
// The emulation traps where the processor would raise an exception.
#pragma once

#include <cstdint>

namespace colonnade::kernels {

inline constexpr int kTiles = 8;
// Of palette 1.
inline constexpr int kTileRows = 16, kTileRowBytes = 64;

// What LDTILECFG reads.
struct alignas(64) TileConfig {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t colsb[16];  // Bytes of a row, tile by tile; those behind the eighth are 0.
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace colonnade::kernels

// Recurrent layers whose weights and hidden state are 8-bit integers; see kernels/rnn/rnn.h for the
// layers themselves.
//
//   q(h) = round(min(max(h * (1 / scale), -zero), 255 - zero)) + zero      ties to even; NaN gives
//   0 g(t) = gates(t) + float(sum over k of (q(h(t - 1))[k] - zero) * R[k]) * (scale * r_scale)
//
// R is int8, its sums are exact in int32. Everything else is float32 as in rnn.h: the gates, their
// functions, c, and h itself, which is quantized on its way into the next product only; the second
// product of a GRU quantizes r h in the same way. Products, sums and functions are rounded apart:
// the same bits on every instruction set, for any split.
//
// The scale of the state is given, or that of DynamicQuantizeLinear for all rows of a direction
// that enter a step (range of h and 0): h of the items that have not ended.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "kernels/rnn/rnn.h"

namespace colonnade::kernels {

// Terms that surely fit int32: 2^15 * 255 * 128 < 2^31.
inline constexpr int64_t kByteHiddenMax = int64_t{1} << 15;
// A row of quantized state: its length is a multiple of kByteStateAlign, and a kernel may keep it
// in two forms.
inline constexpr int64_t kByteStateAlign = 64;
inline constexpr int64_t kByteStatePlanes = 2;

struct ByteRecurrentParams {
  RecurrentParams layer;  // Without r.
  const int8_t* r;        // Packed by pack_byte_recurrent_tile for the same lanes.
  bool has_lowest;        // R may hold -128, which some rows take a slower way for.
  // A value a gate and hidden unit: [directions], then phase by phase
  // [tiles][gates][blocks][lanes], zeros past the last hidden unit; packed by pack_recurrent_rows.
  const float* r_scale;
  const int32_t* r_sum;  // Sums of R over k.
  const float* h_scale;  // One value, as the next; or null for both: measured at each step.
  const uint8_t* h_zero;
};

// Bytes of packed R: [directions], then phase by phase [tiles][k / 4][gates][blocks][lanes][4],
// zeros where there is no weight.
int64_t byte_recurrent_packed_bytes(RecurrentKind kind, int64_t directions, int64_t hidden,
                                    int32_t lanes);
// Packs one tile of every phase. r: [directions][hidden][G * hidden], row k holds what h[k] adds.
void pack_byte_recurrent_tile(RecurrentKind kind, int64_t hidden, int32_t lanes, int64_t direction,
                              int64_t tile, const int8_t* r, int8_t* packed);

// Values of r_scale or r_sum for each lane of a tile, of every direction and phase.
int64_t recurrent_row_values(RecurrentKind kind, int64_t directions, int64_t hidden, int32_t lanes);
// rows: [directions][G * hidden].
template <typename T>
void pack_recurrent_rows(RecurrentKind kind, int64_t directions, int64_t hidden, int32_t lanes,
                         const T* rows, T* packed);

// The quantized state of `items` batch items: scratch of a call, 64-byte aligned.
int64_t byte_recurrent_scratch_bytes(int64_t items, int64_t hidden);

struct ByteRecurrentRow {
  const char* name;
  Isa isa;
  int32_t lanes;
  // As RecurrentRow. Quantizes the state of its items first, so tiles are best taken together.
  void (*run)(const ByteRecurrentParams&, int64_t phase, int64_t direction, int64_t tile_begin,
              int64_t tile_end, int64_t item_begin, int64_t item_end, void* scratch);
};

std::span<const ByteRecurrentRow> byte_recurrent_rows();
// The best row that `isa` can run. Never fails.
const ByteRecurrentRow& choose_byte_recurrent(Isa isa);

}  // namespace colonnade::kernels

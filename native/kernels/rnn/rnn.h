// Recurrent layers over time: LSTM, GRU and the plain RNN, fp32.
//
// The input's share of the gates comes ready-made (it is one matrix product over all steps):
//
//   g(t) = gates(t) + R h(t - 1)
//
//   rnn    h = tanh(g) or relu(g)
//   lstm   i, o, f, a = the four parts of g; c = sigmoid(f) c + sigmoid(i) tanh(a);
//          h = sigmoid(o) tanh(c). Peepholes add p_i c and p_f c of the step before to i and f, and
//          p_o c of this step to o. With coupled gates 1 - sigmoid(i) takes the place of
//          sigmoid(f).
//   gru    z, r, n = the three parts of gates; z, r = sigmoid(z + R_z h), sigmoid(r + R_r h);
//          n = tanh(n + R_n (r h)), or tanh(n + r (R_n h + b)) with the reset behind the product;
//          h = z h + (1 - z) n.
//
// Every argument of a function is clipped to [-clip, clip] first.
//
// A layer runs in *phases*, one a step, two for a GRU whose product waits for the reset. In a phase
// every hidden unit is independent of the others: R is read once, and all gates of `lanes` hidden
// units (a tile: lanes are hidden units, batch items are broadcast) become their new states while
// the sums are still warm. Phases follow each other in order; the states of the phase before must
// be visible.
//
// Each sum runs over k in rising order, then adds its gate, whatever the tile and the items beside
// it: any split gives the same bits. |error of g| <= (hidden + 2) 2^-24 (|gates| + |R||h|), plus
// 4 ULP of the functions. Without an initial state the first step has no product: R may hold
// anything then. A batch item shorter than the longest has zeros in y past its length; its last
// state is that of its last step. Reversed, it starts at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu_features.h"

namespace colonnade::kernels {

enum class RecurrentKind : int32_t {
  rnn_tanh = 0,
  rnn_relu = 1,
  lstm = 2,
  gru = 3,
  gru_reset_behind = 4,
};

constexpr int64_t gate_count(RecurrentKind kind) {
  return kind == RecurrentKind::lstm ? 4 : kind >= RecurrentKind::gru ? 3 : 1;
}

constexpr int64_t phases_per_step(RecurrentKind kind) { return kind == RecurrentKind::gru ? 2 : 1; }

// The gates that a phase computes, and the vectors of hidden units that one tile of it takes.
struct RecurrentForm {
  int64_t first_gate;
  int64_t gates;
  int64_t blocks;
};

constexpr RecurrentForm recurrent_form(RecurrentKind kind, int64_t phase) {
  switch (kind) {
    case RecurrentKind::lstm:
      return {0, 4, 1};
    case RecurrentKind::gru:
      return phase == 0 ? RecurrentForm{0, 2, 2} : RecurrentForm{2, 1, 2};
    case RecurrentKind::gru_reset_behind:
      return {0, 3, 1};
    default:
      return {0, 1, 4};
  }
}

struct RecurrentParams {
  RecurrentKind kind;
  int64_t steps;
  int64_t batch;
  int64_t hidden;
  int64_t directions;
  bool is_reverse[2];
  bool couples_gates;  // lstm: the forget gate is 1 - the input gate.
  float clip;          // Infinity: none.
  const float*
      gates;  // [G * hidden] at step * gates_step + batch * gates_batch + direction * G * hidden.
  int64_t gates_step;
  int64_t gates_batch;
  const float* r;             // Packed by pack_recurrent_tile for the same lanes.
  const std::byte* sparse_r;  // Or null; then r is not read. Packed by pack_sparse_recurrent.
  const float* hidden_bias;   // [directions][hidden], or null: b of gru_reset_behind.
  const float* peepholes;     // [directions][3 * hidden] for i, o, f; or null.
  const int32_t* lengths;     // [batch], 0 <= length <= steps; or null.
  const float* h0;            // Or null for zeros, as c0. Element (direction, batch) of the states
  const float* c0;            // starts at direction * state_direction + batch * state_batch.
  int64_t state_direction;
  int64_t state_batch;
  float* y;  // Or null. States are read where they were written: h in y, c in y_c.
  int64_t y_step;
  int64_t y_batch;
  int64_t y_direction;
  float* y_h;   // Or null.
  float* y_c;   // Or null.
  float* work;  // recurrent_work_floats: states that have no output, and values between phases.
};

int64_t recurrent_work_floats(const RecurrentParams& params);

// Tiles of hidden units in one direction.
int64_t recurrent_tiles(RecurrentKind kind, int64_t hidden, int32_t lanes);
// Floats of packed R: [directions], then phase by phase [tiles][hidden][gates][blocks][lanes],
// zeros past the last hidden unit.
int64_t recurrent_packed_floats(RecurrentKind kind, int64_t directions, int64_t hidden,
                                int32_t lanes);
// Packs one tile of every phase. r: [directions][hidden][G * hidden], row k holds what h[k] adds.
void pack_recurrent_tile(RecurrentKind kind, int64_t hidden, int32_t lanes, int64_t direction,
                         int64_t tile, const float* r, float* packed);

struct RecurrentRow {
  const char* name;
  Isa isa;
  int32_t lanes;
  // One phase of a direction: tiles [tile_begin, tile_end) of items [item_begin, item_end).
  // phase < steps * phases_per_step.
  void (*run)(const RecurrentParams&, int64_t phase, int64_t direction, int64_t tile_begin,
              int64_t tile_end, int64_t item_begin, int64_t item_end);
};

std::span<const RecurrentRow> recurrent_rows();
// The best row that `isa` can run. Never fails.
const RecurrentRow& choose_recurrent(Isa isa);

}  // namespace colonnade::kernels

// Recurrent layers over time: LSTM, GRU and the plain RNN, fp32.
//
// The input's share of the gates comes ready-made (it is one matrix product over all steps):
//
//   g(t) = gates(t) + R h(t - 1)
//
//   rnn    h = tanh(g) or relu(g)
//   lstm   i, o, f, a = the four parts of g; c = sigmoid(f) c + sigmoid(i) tanh(a);
//          h = sigmoid(o) tanh(c). Peepholes add p_i c and p_f c of the step before to i and f, and
//          p_o c of this step to o.
//   gru    z, r, n = the three parts of gates; z, r = sigmoid(z + R_z h), sigmoid(r + R_r h);
//          n = tanh(n + R_n (r h)), or tanh(n + r (R_n h + b)) with the reset behind the product;
//          h = z h + (1 - z) n.
//
// The sums run over k in one order whatever the split: |error of g| <= (hidden + 2) 2^-24
// (|gates| + |R||h|), plus 4 ULP of the functions. A batch item shorter than the longest has zeros
// in y past its length; its last state is that of its last step. Reversed, it starts at its end.
#pragma once

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

struct RecurrentParams {
  RecurrentKind kind;
  int64_t steps;
  int64_t batch;
  int64_t hidden;
  int64_t directions;
  bool is_reverse[2];
  const float*
      gates;  // [G * hidden] at step * gates_step + batch * gates_batch + direction * G * hidden.
  int64_t gates_step;
  int64_t gates_batch;
  const float* r;            // [directions][hidden][G * hidden]: row k holds what h[k] adds.
  const float* hidden_bias;  // [directions][hidden], or null: b of gru_reset_behind.
  const float* peepholes;    // [directions][3 * hidden] for i, o, f; or null.
  const int32_t* lengths;    // [batch], 0 <= length <= steps; or null.
  const float* h0;           // Or null for zeros, as c0. Element (direction, batch) of the states
  const float* c0;           // starts at direction * state_direction + batch * state_batch.
  int64_t state_direction;
  int64_t state_batch;
  float* y;  // Or null.
  int64_t y_step;
  int64_t y_batch;
  int64_t y_direction;
  float* y_h;  // Or null.
  float* y_c;  // Or null.
};

// A unit is a direction of up to kRecurrentBatch neighbouring batch items.
inline constexpr int64_t kRecurrentBatch = 4;
int64_t recurrent_units(const RecurrentParams& params);
// Scratch of a thread.
int64_t recurrent_scratch_floats(const RecurrentParams& params);

struct RecurrentRow {
  const char* name;
  Isa isa;
  int32_t lanes;
  void (*run)(const RecurrentParams&, float* scratch, int64_t unit_begin, int64_t unit_end);
};

std::span<const RecurrentRow> recurrent_rows();
// The best row that `isa` can run. Never fails.
const RecurrentRow& choose_recurrent(Isa isa);

}  // namespace colonnade::kernels

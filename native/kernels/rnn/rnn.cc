#include "kernels/rnn/rnn.h"

namespace colonnade {

#define RNN_ROW(name, space, isa, lanes)                                                  \
  namespace space {                                                                       \
  void name(const kernels::RecurrentParams&, int64_t, int64_t, int64_t, int64_t, int64_t, \
            int64_t);                                                                     \
  }
#include "kernels/rnn/kernels.inc"
#undef RNN_ROW

namespace kernels {
namespace {

constexpr RecurrentRow kRows[] = {
#define RNN_ROW(name, space, isa, lanes) {#name, Isa::isa, lanes, &space::name},
#include "kernels/rnn/kernels.inc"
#undef RNN_ROW
};

}  // namespace

int64_t recurrent_work_floats(const RecurrentParams& params) {
  // h of two steps in turn; c, or z and r h of a GRU.
  return 4 * params.directions * params.batch * params.hidden;
}

int64_t recurrent_tiles(RecurrentKind kind, int64_t hidden, int32_t lanes) {
  const int64_t units = recurrent_form(kind, 0).blocks * lanes;
  return (hidden + units - 1) / units;
}

int64_t recurrent_packed_floats(RecurrentKind kind, int64_t directions, int64_t hidden,
                                int32_t lanes) {
  const int64_t rows = recurrent_tiles(kind, hidden, lanes) * recurrent_form(kind, 0).blocks;
  return directions * rows * lanes * hidden * gate_count(kind);
}

void pack_recurrent_tile(RecurrentKind kind, int64_t hidden, int32_t lanes, int64_t direction,
                         int64_t tile, const float* r, float* packed) {
  const int64_t row = gate_count(kind) * hidden;
  r += direction * hidden * row;
  packed += direction * recurrent_packed_floats(kind, 1, hidden, lanes);
  for (int64_t phase = 0; phase < phases_per_step(kind); ++phase) {
    const RecurrentForm form = recurrent_form(kind, phase);
    const int64_t tile_floats = hidden * form.gates * form.blocks * lanes;
    float* to = packed + tile * tile_floats;
    packed += recurrent_tiles(kind, hidden, lanes) * tile_floats;
    for (int64_t k = 0; k < hidden; ++k) {
      for (int64_t gate = form.first_gate; gate < form.first_gate + form.gates; ++gate) {
        const float* from = r + k * row + gate * hidden;
        const int64_t first = tile * form.blocks * lanes;
        for (int64_t j = first; j < first + form.blocks * lanes; ++j) {
          *to++ = j < hidden ? from[j] : 0.0f;
        }
      }
    }
  }
}

std::span<const RecurrentRow> recurrent_rows() { return kRows; }

const RecurrentRow& choose_recurrent(Isa isa) {
  const RecurrentRow* best = &kRows[0];
  for (const RecurrentRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

}  // namespace kernels
}  // namespace colonnade

#include "kernels/rnn/rnn.h"

namespace colonnade {

#define RNN_ROW(name, space, isa, lanes)                                        \
  namespace space {                                                             \
  void name(const kernels::RecurrentParams&, float* scratch, int64_t, int64_t); \
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

// Rows of the scratch are padded, so that whole vectors may be read and written.
constexpr int64_t kPadding = 16;

}  // namespace

int64_t recurrent_units(const RecurrentParams& params) {
  return params.directions * ((params.batch + kRecurrentBatch - 1) / kRecurrentBatch);
}

int64_t recurrent_scratch_floats(const RecurrentParams& params) {
  // Gates, h, c and the reset h of each batch item.
  return kRecurrentBatch * ((gate_count(params.kind) + 3) * params.hidden + 4 * kPadding);
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

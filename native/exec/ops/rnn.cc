// Adapter of the recurrent layers.
#include "kernels/rnn/rnn.h"

#include "exec/op.h"
#include "exec/ops/check.h"

namespace colonnade::exec {
namespace {

using kernels::RecurrentKind;
using kernels::RecurrentParams;

// ---- recurrent: kind, steps, batch, hidden, directions, is_reverse of the first, is_batch_first.
// operands: gates, r, hidden_bias, peepholes, lengths, h0, c0, y, y_h, y_c; the first two must be
// there. Batch first: gates [batch][steps][..], y [batch][steps][directions][hidden], states
// [batch][directions][hidden]; else steps come before batch and y is [steps][directions][batch].

constexpr size_t kGates = 0, kR = 1, kHiddenBias = 2, kPeepholes = 3, kLengths = 4, kH0 = 5,
                 kC0 = 6, kY = 7, kYh = 8, kYc = 9, kOperands = 10;

struct Recurrent {
  const kernels::RecurrentRow* row;
  RecurrentParams params;
};

std::string read_sizes(PrepareContext& context, RecurrentParams& p) {
  const int64_t kind = context.params.integer();
  p.steps = context.params.integer();
  p.batch = context.params.integer();
  p.hidden = context.params.integer();
  p.directions = context.params.integer();
  p.is_reverse[0] = context.params.integer() != 0;
  p.is_reverse[1] = true;
  if (kind < 0 || kind > static_cast<int64_t>(RecurrentKind::gru_reset_behind)) {
    return "unknown kind";
  }
  p.kind = static_cast<RecurrentKind>(kind);
  if (p.steps < 1 || p.batch < 1 || p.hidden < 1 || p.directions < 1 || p.directions > 2) {
    return "sizes out of range";
  }
  return "";
}

void set_strides(RecurrentParams& p, bool is_batch_first) {
  const int64_t row = p.directions * p.hidden;
  const int64_t gates = row * kernels::gate_count(p.kind);
  p.gates_step = is_batch_first ? gates : p.batch * gates;
  p.gates_batch = is_batch_first ? p.steps * gates : gates;
  p.state_direction = is_batch_first ? p.hidden : p.batch * p.hidden;
  p.state_batch = is_batch_first ? row : p.hidden;
  p.y_step = is_batch_first ? row : p.batch * row;
  p.y_batch = is_batch_first ? p.steps * row : p.hidden;
  p.y_direction = is_batch_first ? p.hidden : p.batch * p.hidden;
}

std::string check_operands(const PrepareContext& context, const RecurrentParams& p) {
  const int64_t gates = kernels::gate_count(p.kind);
  const int64_t states = checked_product({p.directions, p.batch, p.hidden});
  const auto holds = [&](size_t operand, int64_t count) {
    return holds_floats_or_absent(context.operands[operand], count);
  };
  const int64_t all_gates = checked_product({states, p.steps, gates});
  const int64_t weights = checked_product({p.directions, p.hidden, p.hidden, gates});
  if (!holds_floats(context.operands[kGates], all_gates)) return "gates are too small";
  if (!holds_floats(context.operands[kR], weights)) return "r is too small";
  if (!holds(kHiddenBias, p.directions * p.hidden)) return "hidden_bias is too small";
  if (!holds(kPeepholes, p.directions * 3 * p.hidden)) return "peepholes are too small";
  if (!holds(kLengths, p.batch)) return "lengths are too few";  // int32: as large as a float.
  for (const size_t state : {kH0, kC0, kYh, kYc}) {
    if (!holds(state, states)) return "a state is too small";
  }
  return holds(kY, checked_product({states, p.steps})) ? "" : "y is too small";
}

std::string prepare_recurrent(PrepareContext& context, Prepared& prepared) {
  auto r = std::make_shared<Recurrent>();
  r->row = &kernels::choose_recurrent(context.isa);
  RecurrentParams& p = r->params;
  p = {};
  if (std::string error = read_sizes(context, p); !error.empty()) return error;
  const bool is_batch_first = context.params.integer() != 0;
  if (context.operands.size() != kOperands) return "recurrent takes 10 operands";
  if (std::string error = check_operands(context, p); !error.empty()) return error;
  set_strides(p, is_batch_first);
  prepared.units = kernels::recurrent_units(p);
  prepared.scratch_bytes = kernels::recurrent_scratch_floats(p) * 4;
  prepared.params = std::move(r);
  return "";
}

RunStatus run_recurrent(const void* params, const RunContext& context) {
  const auto& r = *static_cast<const Recurrent*>(params);
  RecurrentParams p = r.params;
  p.gates = as<float>(context, kGates);
  p.r = as<float>(context, kR);
  p.hidden_bias = as<float>(context, kHiddenBias);
  p.peepholes = as<float>(context, kPeepholes);
  p.lengths = as<int32_t>(context, kLengths);
  p.h0 = as<float>(context, kH0);
  p.c0 = as<float>(context, kC0);
  p.y = as_mutable<float>(context, kY);
  p.y_h = as_mutable<float>(context, kYh);
  p.y_c = as_mutable<float>(context, kYc);
  for (int64_t b = 0; p.lengths != nullptr && b < p.batch; ++b) {
    if (p.lengths[b] < 0 || p.lengths[b] > p.steps) {
      return {RunCode::index_out_of_range, b, p.lengths[b], p.steps + 1};
    }
  }
  r.row->run(p, reinterpret_cast<float*>(context.scratch), context.begin, context.end);
  return {};
}

constexpr Op kOps[] = {{"recurrent", &prepare_recurrent, &run_recurrent}};

}  // namespace

std::span<const Op> rnn_ops() { return kOps; }

}  // namespace colonnade::exec

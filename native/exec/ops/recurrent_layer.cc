#include "exec/ops/recurrent_layer.h"

#include "exec/ops/check.h"

namespace colonnade::exec {
namespace {

using kernels::RecurrentKind;
using kernels::RecurrentParams;

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
  for (const int64_t size : {p.steps, p.batch, p.hidden}) {
    if (size < 1 || size > kRecurrentSizeMax) return "sizes out of range";
  }
  return p.directions < 1 || p.directions > 2 ? "sizes out of range" : "";
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

// Packed weights may be larger than these: a tile's worth a direction.
bool is_product_small(const RecurrentParams& p) {
  const int64_t padded = p.hidden + 64;
  return checked_product({p.directions, padded, p.hidden, kernels::gate_count(p.kind)}) >= 0 &&
         checked_product({4, p.directions, p.batch, p.hidden}) >= 0;
}

}  // namespace

std::string read_recurrent_layer(PrepareContext& context, RecurrentParams& p) {
  p = {};
  if (std::string error = read_sizes(context, p); !error.empty()) return error;
  if (!is_product_small(p)) return "sizes out of range";
  set_strides(p, context.params.integer() != 0);
  p.couples_gates = context.params.integer() != 0;
  p.clip = context.params.real32();
  return p.clip >= 0.0f ? "" : "clip is negative or NaN";
}

std::string check_recurrent_layer(const PrepareContext& context, const RecurrentParams& p) {
  const int64_t gates = kernels::gate_count(p.kind);
  const int64_t states = checked_product({p.directions, p.batch, p.hidden});
  const auto holds = [&](size_t operand, int64_t count) {
    return holds_floats_or_absent(context.operands[operand], count);
  };
  const int64_t all_gates = checked_product({states, p.steps, gates});
  if (!holds_floats(context.operands[kGates], all_gates)) return "gates are too small";
  if (!holds(kHiddenBias, p.directions * p.hidden)) return "hidden_bias is too small";
  if (!holds(kPeepholes, p.directions * 3 * p.hidden)) return "peepholes are too small";
  if (!holds(kLengths, p.batch)) return "lengths are too few";  // int32: as large as a float.
  for (const size_t state : {kH0, kC0, kYh, kYc}) {
    if (!holds(state, states)) return "a state is too small";
  }
  return holds(kY, checked_product({states, p.steps})) ? "" : "y is too small";
}

RecurrentParams bind_recurrent_layer(const RecurrentParams& layer, const RunContext& context) {
  RecurrentParams p = layer;
  p.gates = as<float>(context, kGates);
  p.hidden_bias = as<float>(context, kHiddenBias);
  p.peepholes = as<float>(context, kPeepholes);
  p.lengths = as<int32_t>(context, kLengths);
  p.h0 = as<float>(context, kH0);
  p.c0 = as<float>(context, kC0);
  p.y = as_mutable<float>(context, kY);
  p.y_h = as_mutable<float>(context, kYh);
  p.y_c = as_mutable<float>(context, kYc);
  p.work = as_mutable<float>(context, kWork);
  return p;
}

RunStatus check_recurrent_lengths(const RecurrentParams& p) {
  for (int64_t b = 0; p.lengths != nullptr && b < p.batch; ++b) {
    if (p.lengths[b] < 0 || p.lengths[b] > p.steps) {
      return {RunCode::index_out_of_range, b, p.lengths[b], p.steps + 1};
    }
  }
  return {};
}

}  // namespace colonnade::exec

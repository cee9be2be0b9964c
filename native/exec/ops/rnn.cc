// Adapter of the recurrent layers.
#include "kernels/rnn/rnn.h"

#include <algorithm>

#include "exec/op.h"
#include "exec/ops/check.h"
#include "kernels/rnn/sparse.h"

namespace colonnade::exec {
namespace {

using kernels::RecurrentKind;
using kernels::RecurrentParams;

// ---- recurrent: kind, steps, batch, hidden, directions, is_reverse of the first, is_batch_first,
// couples_gates, clip, items_per_unit, is_sparse.
// operands: gates, r, hidden_bias, peepholes, lengths, h0, c0, work, y, y_h, y_c; gates, r and work
// must be there. Batch first: gates [batch][steps][..], y [batch][steps][directions][hidden],
// states [batch][directions][hidden]; else steps come before batch and y is
// [steps][directions][batch].
//
// r is a constant of recurrent_packed_floats, or of pack_sparse_recurrent (is_sparse), or row-major
// and packed into the work at each run.
// items_per_unit 0: a unit is a tile of hidden units, and every phase is a wave. Else a unit is so
// many batch items through all phases, alone.

constexpr size_t kGates = 0, kR = 1, kHiddenBias = 2, kPeepholes = 3, kLengths = 4, kH0 = 5,
                 kC0 = 6, kWork = 7, kY = 8, kYh = 9, kYc = 10, kOperands = 11;

constexpr int64_t kSizeMax = int64_t{1} << 40;

struct Recurrent {
  const kernels::RecurrentRow* row;
  RecurrentParams params;
  int64_t items_per_unit;
  bool is_packed;  // Else the first wave packs.
  bool is_sparse;
  int64_t tiles;
  int64_t phases;
};

std::string read_sizes(PrepareContext& context, Recurrent& r) {
  RecurrentParams& p = r.params;
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
    if (size < 1 || size > kSizeMax) return "sizes out of range";
  }
  return p.directions < 1 || p.directions > 2 ? "sizes out of range" : "";
}

std::string read_options(PrepareContext& context, Recurrent& r) {
  r.params.couples_gates = context.params.integer() != 0;
  r.params.clip = context.params.real32();
  if (!(r.params.clip >= 0.0f)) return "clip is negative or NaN";
  r.items_per_unit = context.params.integer();
  r.is_sparse = context.params.integer() != 0;
  const bool is_fit = r.items_per_unit >= 0 && r.items_per_unit <= kSizeMax;
  return is_fit ? "" : "items_per_unit is out of range";
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

std::string check_sparse_weights(const PrepareContext& context, Recurrent& r) {
  const RecurrentParams& p = r.params;
  const OperandInfo& weights = context.operands[kR];
  if (weights.data == nullptr) return "sparse r is not a constant";
  r.is_packed = true;
  if (!holds_floats(context.operands[kWork], kernels::recurrent_work_floats(p))) {
    return "work is too small";
  }
  const char* error =
      kernels::verify_sparse_recurrent({weights.data, static_cast<size_t>(weights.bytes)},
                                       {p.kind, p.directions, p.hidden, r.row->lanes});
  return error == nullptr ? "" : error;
}

std::string check_weights(const PrepareContext& context, Recurrent& r) {
  const RecurrentParams& p = r.params;
  if (!is_product_small(p)) return "sizes out of range";
  if (r.is_sparse) return check_sparse_weights(context, r);
  const OperandInfo& weights = context.operands[kR];
  const int64_t packed =
      kernels::recurrent_packed_floats(p.kind, p.directions, p.hidden, r.row->lanes);
  const int64_t given =
      checked_product({p.directions, p.hidden, p.hidden, kernels::gate_count(p.kind)});
  r.is_packed = weights.data != nullptr;
  if (!holds_floats(weights, r.is_packed ? packed : given)) return "r is too small";
  const int64_t work = kernels::recurrent_work_floats(p) + (r.is_packed ? 0 : packed);
  if (!holds_floats(context.operands[kWork], work)) return "work is too small";
  return r.is_packed || r.items_per_unit == 0 ? "" : "only packed weights run item by item";
}

std::string check_operands(const PrepareContext& context, const RecurrentParams& p) {
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

std::string prepare_recurrent(PrepareContext& context, Prepared& prepared) {
  auto r = std::make_shared<Recurrent>();
  r->row = &kernels::choose_recurrent(context.isa);
  RecurrentParams& p = r->params;
  p = {};
  if (std::string error = read_sizes(context, *r); !error.empty()) return error;
  const bool is_batch_first = context.params.integer() != 0;
  if (std::string error = read_options(context, *r); !error.empty()) return error;
  if (context.operands.size() != kOperands) return "recurrent takes 11 operands";
  if (std::string error = check_weights(context, *r); !error.empty()) return error;
  if (std::string error = check_operands(context, p); !error.empty()) return error;
  set_strides(p, is_batch_first);
  r->tiles = kernels::recurrent_tiles(p.kind, p.hidden, r->row->lanes);
  r->phases = p.steps * kernels::phases_per_step(p.kind);
  if (r->items_per_unit > 0) {
    prepared.units = p.directions * ceil_div(p.batch, r->items_per_unit);
  } else {
    prepared.units = p.directions * r->tiles;
    prepared.waves = r->phases + (r->is_packed ? 0 : 1);
  }
  prepared.params = std::move(r);
  return "";
}

RunStatus check_lengths(const RecurrentParams& p) {
  for (int64_t b = 0; p.lengths != nullptr && b < p.batch; ++b) {
    if (p.lengths[b] < 0 || p.lengths[b] > p.steps) {
      return {RunCode::index_out_of_range, b, p.lengths[b], p.steps + 1};
    }
  }
  return {};
}

RecurrentParams bind(const Recurrent& r, const RunContext& context) {
  RecurrentParams p = r.params;
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
  if (r.is_sparse) {
    p.sparse_r = context.operands[kR];
    return p;
  }
  p.r = r.is_packed ? as<float>(context, kR) : p.work + kernels::recurrent_work_floats(p);
  return p;
}

void run_items(const Recurrent& r, const RecurrentParams& p, int64_t unit) {
  const int64_t blocks = ceil_div(p.batch, r.items_per_unit);
  const int64_t first = unit % blocks * r.items_per_unit;
  const int64_t end = std::min(first + r.items_per_unit, p.batch);
  for (int64_t phase = 0; phase < r.phases; ++phase) {
    r.row->run(p, phase, unit / blocks, 0, r.tiles, first, end);
  }
}

void pack_tile(const Recurrent& r, const RecurrentParams& p, const float* given, int64_t unit) {
  float* packed = p.work + kernels::recurrent_work_floats(p);
  kernels::pack_recurrent_tile(p.kind, p.hidden, r.row->lanes, unit / r.tiles, unit % r.tiles,
                               given, packed);
}

RunStatus run_recurrent(const void* params, const RunContext& context) {
  const auto& r = *static_cast<const Recurrent*>(params);
  const RecurrentParams p = bind(r, context);
  if (context.wave == 0) {
    if (const RunStatus status = check_lengths(p); status.code != RunCode::ok) return status;
  }
  const int64_t phase = context.wave - (r.is_packed ? 0 : 1);
  for (int64_t unit = context.begin; unit < context.end; ++unit) {
    if (r.items_per_unit > 0) {
      run_items(r, p, unit);
    } else if (phase < 0) {
      pack_tile(r, p, as<float>(context, kR), unit);
    } else {
      const int64_t tile = unit % r.tiles;
      r.row->run(p, phase, unit / r.tiles, tile, tile + 1, 0, p.batch);
    }
  }
  return {};
}

constexpr Op kOps[] = {{"recurrent", &prepare_recurrent, &run_recurrent}};

}  // namespace

std::span<const Op> rnn_ops() { return kOps; }

}  // namespace colonnade::exec

// Adapter of the recurrent layers.
#include "kernels/rnn/rnn.h"

#include <algorithm>

#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/recurrent_layer.h"
#include "kernels/rnn/sparse.h"

namespace colonnade::exec {
namespace {

using kernels::RecurrentParams;

// ---- recurrent: the layer's params (recurrent_layer.h), then items_per_unit, is_sparse.
// operands: the layer's.
//
// r is a constant of recurrent_packed_floats, or of pack_sparse_recurrent (is_sparse), or row-major
// and packed into the work at each run.
// items_per_unit 0: a unit is a tile of hidden units, and every phase is a wave. Else a unit is so
// many batch items through all phases, alone.

struct Recurrent {
  const kernels::RecurrentRow* row;
  RecurrentParams params;
  int64_t items_per_unit;
  bool is_packed;  // Else the first wave packs.
  bool is_sparse;
  int64_t tiles;
  int64_t phases;
};

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
  if (r.is_sparse) return check_sparse_weights(context, r);
  const RecurrentParams& p = r.params;
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

std::string prepare_recurrent(PrepareContext& context, Prepared& prepared) {
  auto r = std::make_shared<Recurrent>();
  r->row = &kernels::choose_recurrent(context.isa);
  RecurrentParams& p = r->params;
  if (std::string error = read_recurrent_layer(context, p); !error.empty()) return error;
  r->items_per_unit = context.params.integer();
  r->is_sparse = context.params.integer() != 0;
  if (r->items_per_unit < 0 || r->items_per_unit > kRecurrentSizeMax) {
    return "items_per_unit is out of range";
  }
  if (context.operands.size() != kLayerOperands) return "recurrent takes 11 operands";
  if (std::string error = check_weights(context, *r); !error.empty()) return error;
  if (std::string error = check_recurrent_layer(context, p); !error.empty()) return error;
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

RecurrentParams bind(const Recurrent& r, const RunContext& context) {
  RecurrentParams p = bind_recurrent_layer(r.params, context);
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
    if (const RunStatus status = check_recurrent_lengths(p); status.code != RunCode::ok)
      return status;
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

constexpr Op kOps[] = {{"recurrent", &prepare_recurrent, &run_recurrent, {kWork, 4}}};

}  // namespace

std::span<const Op> rnn_ops() { return kOps; }

}  // namespace colonnade::exec

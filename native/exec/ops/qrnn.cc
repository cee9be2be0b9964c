// Adapter of the recurrent layers on 8-bit integers.
#include "kernels/qrnn/qrnn.h"

#include <algorithm>

#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/recurrent_layer.h"

namespace colonnade::exec {
namespace {

using kernels::ByteRecurrentParams;
using kernels::RecurrentParams;

// ---- qrecurrent: the layer's params (recurrent_layer.h), then items_per_unit, tiles_per_unit,
// has_lowest (R holds -128).
// operands: the layer's, then r_scale, r_sum, h_scale, h_zero. r, r_scale and r_sum are constants,
// packed for the lanes of the plan's instruction set; h_scale and h_zero are there both or neither.
//
// items_per_unit 0: a unit is tiles_per_unit tiles of hidden units of one direction, and every
// phase is a wave. Else a unit is so many batch items through all phases, alone; all of them where
// the scale of the state is measured.

constexpr size_t kRScale = 11, kRSum = 12, kHScale = 13, kHZero = 14, kOperands = 15;

struct ByteRecurrent {
  const kernels::ByteRecurrentRow* row;
  RecurrentParams layer;
  int64_t items_per_unit;
  int64_t tiles_per_unit;
  bool has_lowest;
  int64_t tiles;
  int64_t units;  // In one direction.
  int64_t phases;
};

bool holds_bytes(const OperandInfo& operand, int64_t count) {
  return operand.present() && operand.bytes >= count;
}

std::string check_weights(const PrepareContext& context, const ByteRecurrent& r) {
  const RecurrentParams& p = r.layer;
  if (p.hidden > kernels::kByteHiddenMax) return "more hidden units than sums of int32 take";
  const int64_t packed =
      kernels::byte_recurrent_packed_bytes(p.kind, p.directions, p.hidden, r.row->lanes);
  if (!holds_bytes(context.operands[kR], packed)) return "r is too small";
  const int64_t rows = kernels::recurrent_row_values(p.kind, p.directions, p.hidden, r.row->lanes);
  for (const size_t operand : {kRScale, kRSum}) {
    if (!holds_floats(context.operands[operand], rows)) return "r_scale or r_sum is too small";
  }
  if (!holds_floats(context.operands[kWork], kernels::recurrent_work_floats(p))) {
    return "work is too small";
  }
  const OperandInfo &scale = context.operands[kHScale], &zero = context.operands[kHZero];
  if (!scale.present() && !zero.present()) return "";
  return holds_floats(scale, 1) && holds_bytes(zero, 1) ? "" : "h_scale or h_zero is missing";
}

std::string read_units(PrepareContext& context, ByteRecurrent& r) {
  r.items_per_unit = context.params.integer();
  r.tiles_per_unit = context.params.integer();
  r.has_lowest = context.params.integer() != 0;
  if (r.items_per_unit < 0 || r.items_per_unit > kRecurrentSizeMax || r.tiles_per_unit < 1 ||
      r.tiles_per_unit > kRecurrentSizeMax) {
    return "items_per_unit or tiles_per_unit is out of range";
  }
  const bool is_measured = !context.operands[kHScale].present();
  const bool is_part = r.items_per_unit > 0 && r.items_per_unit < r.layer.batch;
  return is_measured && is_part ? "a part of the batch cannot measure the state" : "";
}

std::string prepare_byte_recurrent(PrepareContext& context, Prepared& prepared) {
  auto r = std::make_shared<ByteRecurrent>();
  r->row = &kernels::choose_byte_recurrent(context.isa);
  const RecurrentParams& p = r->layer;
  if (std::string error = read_recurrent_layer(context, r->layer); !error.empty()) return error;
  if (context.operands.size() != kOperands) return "qrecurrent takes 15 operands";
  if (std::string error = read_units(context, *r); !error.empty()) return error;
  if (std::string error = check_weights(context, *r); !error.empty()) return error;
  if (std::string error = check_recurrent_layer(context, p); !error.empty()) return error;
  r->tiles = kernels::recurrent_tiles(p.kind, p.hidden, r->row->lanes);
  r->phases = p.steps * kernels::phases_per_step(p.kind);
  const bool has_waves = r->items_per_unit == 0;
  r->units =
      has_waves ? ceil_div(r->tiles, r->tiles_per_unit) : ceil_div(p.batch, r->items_per_unit);
  prepared.units = p.directions * r->units;
  if (has_waves) prepared.waves = r->phases;
  const int64_t items = has_waves ? p.batch : std::min(p.batch, r->items_per_unit);
  prepared.scratch_bytes = kernels::byte_recurrent_scratch_bytes(items, p.hidden);
  prepared.params = std::move(r);
  return "";
}

ByteRecurrentParams bind(const ByteRecurrent& r, const RunContext& context) {
  ByteRecurrentParams p = {};
  p.layer = bind_recurrent_layer(r.layer, context);
  p.r = as<int8_t>(context, kR);
  p.has_lowest = r.has_lowest;
  p.r_scale = as<float>(context, kRScale);
  p.r_sum = as<int32_t>(context, kRSum);
  p.h_scale = as<float>(context, kHScale);
  p.h_zero = as<uint8_t>(context, kHZero);
  return p;
}

void run_items(const ByteRecurrent& r, const ByteRecurrentParams& p, int64_t unit, void* scratch) {
  const int64_t first = unit % r.units * r.items_per_unit;
  const int64_t end = std::min(first + r.items_per_unit, p.layer.batch);
  for (int64_t phase = 0; phase < r.phases; ++phase) {
    r.row->run(p, phase, unit / r.units, 0, r.tiles, first, end, scratch);
  }
}

// Units of one direction go together, for they share the quantized state.
void run_tiles(const ByteRecurrent& r, const ByteRecurrentParams& p, const RunContext& context) {
  for (int64_t unit = context.begin; unit < context.end;) {
    const int64_t direction = unit / r.units;
    const int64_t end = std::min(context.end, (direction + 1) * r.units);
    const int64_t first = unit % r.units * r.tiles_per_unit;
    const int64_t last = (end - direction * r.units) * r.tiles_per_unit;
    r.row->run(p, context.wave, direction, first, std::min(last, r.tiles), 0, p.layer.batch,
               context.scratch);
    unit = end;
  }
}

RunStatus run_byte_recurrent(const void* params, const RunContext& context) {
  const auto& r = *static_cast<const ByteRecurrent*>(params);
  const ByteRecurrentParams p = bind(r, context);
  if (context.wave == 0) {
    const RunStatus status = check_recurrent_lengths(p.layer);
    if (status.code != RunCode::ok) return status;
  }
  if (r.items_per_unit == 0) {
    run_tiles(r, p, context);
    return {};
  }
  for (int64_t unit = context.begin; unit < context.end; ++unit) {
    run_items(r, p, unit, context.scratch);
  }
  return {};
}

constexpr Op kOps[] = {{"qrecurrent", &prepare_byte_recurrent, &run_byte_recurrent, {kWork, 4}}};

}  // namespace

std::span<const Op> qrnn_ops() { return kOps; }

}  // namespace colonnade::exec

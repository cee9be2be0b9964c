// Adapters for QuantizeLinear, DequantizeLinear and the range of DynamicQuantizeLinear, on rows.
#include "kernels/quantize/quantize.h"

#include <cmath>

#include "base/dtype.h"
#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/space_params.h"

namespace colonnade::exec {
namespace {

// ---- quantize, dequantize: type of the integers, outer, channels, inner.
// operands: input, scale, zero (optional), output. Element (o, c, i) takes scale c.

struct Quantize {
  void (*run)(const kernels::QuantizeRun&, DType);
  DType type;
  int64_t channels;
  int64_t inner;
  int64_t elements;
  int64_t in_bytes;
  int64_t out_bytes;
  int64_t zero_bytes;
};

std::string prepare_sizes(PrepareContext& context, Quantize& p, Prepared& prepared) {
  const int64_t outer = context.params.integer();
  p.channels = context.params.integer();
  p.inner = context.params.integer();
  p.elements = checked_product({outer, p.channels, p.inner});
  if (p.elements < 0 || p.channels < 1 || p.inner < 1) return "sizes out of range";
  if (!holds(context, 0, p.elements, p.in_bytes)) return "input is too small";
  if (context.operands.size() != 4) return "takes four operands";
  if (!holds(context, 1, p.channels, 4)) return "scale is too small";
  if (context.operands[2].present() && !holds(context, 2, p.channels, p.zero_bytes)) {
    return "zero point is too small";
  }
  if (!holds(context, 3, p.elements, p.out_bytes)) return "output is too small";
  prepared.units = chunk_units(p.elements);
  return "";
}

std::string prepare_quantize(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Quantize>();
  p->type = static_cast<DType>(context.params.integer());
  if (!kernels::can_quantize(p->type)) return "cannot quantize to this type";
  p->run = kernels::choose_quantize(context.isa).quantize;
  p->in_bytes = 4;
  p->out_bytes = p->zero_bytes = item_bytes(p->type);
  const std::string error = prepare_sizes(context, *p, prepared);
  prepared.params = std::move(p);
  return error;
}

std::string prepare_dequantize(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Quantize>();
  p->type = static_cast<DType>(context.params.integer());
  if (!kernels::can_dequantize(p->type)) return "cannot dequantize this type";
  p->run = kernels::choose_quantize(context.isa).dequantize;
  p->in_bytes = p->zero_bytes = item_bytes(p->type);
  p->out_bytes = 4;
  const std::string error = prepare_sizes(context, *p, prepared);
  prepared.params = std::move(p);
  return error;
}

// Runs end where the scale changes: at the end of `inner`, or of the channels when inner is 1.
RunStatus run_quantize(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Quantize*>(params);
  const int64_t end = std::min(context.end * kChunk, p.elements);
  const bool is_last_axis = p.inner == 1 && p.channels > 1;
  for (int64_t at = context.begin * kChunk; at < end;) {
    const int64_t channel = at / p.inner % p.channels;
    int64_t count = end - at;
    if (p.channels > 1) {
      count = std::min(count, is_last_axis ? p.channels - channel : p.inner - at % p.inner);
    }
    const std::byte* zero = context.operands[2];
    if (zero != nullptr) zero += channel * p.zero_bytes;
    p.run({context.operands[0] + at * p.in_bytes, as<float>(context, 1) + channel, zero,
           context.operands[3] + at * p.out_bytes, count, is_last_axis ? 1 : 0},
          p.type);
    at += count;
  }
  return {};
}

// ---- dynamic_scale: elements. operands: input, scale, zero (uint8).

struct DynamicScale {
  void (*range)(const float*, int64_t, float&, float&);
  int64_t elements;
};

std::string prepare_dynamic_scale(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<DynamicScale>();
  p->range = kernels::choose_quantize(context.isa).range;
  p->elements = context.params.integer();
  if (!holds(context, 0, p->elements, 4)) return "input is too small";
  if (!holds(context, 1, 1, 4)) return "scale is too small";
  if (!holds(context, 2, 1, 1)) return "zero point is too small";
  prepared.params = std::move(p);
  return "";
}

// 255 steps from the least to the greatest element; a range of nothing has scale 1.
RunStatus run_dynamic_scale(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const DynamicScale*>(params);
  float low = 0.0f;
  float high = 0.0f;
  p.range(as<float>(context, 0), p.elements, low, high);
  float scale = (high - low) / 255.0f;
  if (scale == 0.0f) scale = 1.0f;
  const float zero = std::rint(-low / scale);
  *as_mutable<float>(context, 1) = scale;
  // False for NaN: an infinite range.
  *as_mutable<uint8_t>(context, 2) =
      zero >= 0.0f ? static_cast<uint8_t>(std::min(zero, 255.0f)) : uint8_t{0};
  return {};
}

constexpr Op kOps[] = {
    {"quantize", &prepare_quantize, &run_quantize, kLast},
    {"dequantize", &prepare_dequantize, &run_quantize, kLast},
    {"dynamic_scale", &prepare_dynamic_scale, &run_dynamic_scale, {1, 2}},
};

}  // namespace

std::span<const Op> quantize_ops() { return kOps; }

}  // namespace colonnade::exec

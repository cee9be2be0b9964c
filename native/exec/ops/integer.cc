// Adapters for element-wise maps and reductions of any numeric type.
#include <cstring>
#include <vector>

#include "base/dtype.h"
#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/space_params.h"
#include "kernels/integer/map.h"
#include "kernels/integer/reduce.h"

namespace colonnade::exec {
namespace {

// ---- map_binary: op, type of a, type of b, space of a and b. operands: a, b, output.

struct MapBinary {
  kernels::BinaryFn run;
  IndexSpace<2> space;
  int64_t elements;
  int64_t a_bytes;
  int64_t b_bytes;
  int64_t out_bytes;
};

std::string prepare_binary(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<MapBinary>();
  const auto op = static_cast<kernels::BinaryOp>(context.params.integer());
  const auto a_type = static_cast<DType>(context.params.integer());
  const auto b_type = static_cast<DType>(context.params.integer());
  p->run = kernels::find_binary(op, a_type, b_type);
  if (p->run == nullptr) return "no such operation for these types";
  p->a_bytes = item_bytes(a_type);
  p->b_bytes = item_bytes(b_type);
  p->out_bytes = kernels::gives_bool(op) ? 1 : p->a_bytes;
  std::string error = read_space<2>(context, {p->a_bytes, p->b_bytes}, p->space, p->elements);
  if (!error.empty()) return error;
  if (!holds(context, 2, p->elements, p->out_bytes)) return "output is too small";
  prepared.units = chunk_units(p->elements);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_binary(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const MapBinary*>(params);
  const int64_t a_step = p.space.last_stride(0);
  const int64_t b_step = p.space.last_stride(1);
  for_each_run(p.space, context.begin * kChunk, std::min(context.end * kChunk, p.elements),
               [&](const auto& offsets, int64_t position, int64_t count) {
                 p.run(context.operands[0] + offsets[0] * p.a_bytes, a_step,
                       context.operands[1] + offsets[1] * p.b_bytes, b_step,
                       context.operands[2] + position * p.out_bytes, count);
               });
  return {};
}

// ---- map_unary: op, type, elements. operands: input, output.

struct MapUnary {
  kernels::UnaryFn run;
  int64_t elements;
  int64_t in_bytes;
  int64_t out_bytes;
};

std::string prepare_unary(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<MapUnary>();
  const auto op = static_cast<kernels::UnaryOp>(context.params.integer());
  const auto type = static_cast<DType>(context.params.integer());
  p->elements = context.params.integer();
  p->run = kernels::find_unary(op, type);
  if (p->run == nullptr) return "no such operation for this type";
  p->in_bytes = item_bytes(type);
  p->out_bytes = kernels::gives_bool(op) ? 1 : p->in_bytes;
  if (!holds(context, 0, p->elements, p->in_bytes)) return "input is too small";
  if (!holds(context, 1, p->elements, p->out_bytes)) return "output is too small";
  prepared.units = chunk_units(p->elements);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_unary(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const MapUnary*>(params);
  const int64_t begin = context.begin * kChunk;
  const int64_t end = std::min(context.end * kChunk, p.elements);
  p.run(context.operands[0] + begin * p.in_bytes, 1, context.operands[1] + begin * p.out_bytes,
        end - begin);
  return {};
}

// ---- map_variadic: op, type, is_mean, dims, then per input start and strides.
// operands: inputs (two or more), output. op is add, min or max; a mean divides the sum.

struct MapVariadic {
  kernels::BinaryFn run;
  kernels::BinaryFn divide;  // Null unless a mean is wanted.
  std::vector<IndexSpace<1>> inputs;
  alignas(8) std::byte count[8];  // The number of inputs as an element.
  int64_t elements;
  int64_t bytes;
};

std::string read_inputs(PrepareContext& context, MapVariadic& p) {
  const auto dims = context.params.list();
  if (dims.empty() || dims.size() > kMaxRank) return "rank out of range";
  p.elements = num_elements(dims);
  for (size_t i = 0; i + 1 < context.operands.size(); ++i) {
    IndexSpace<1> space;
    space.rank = static_cast<int>(dims.size());
    std::copy(dims.begin(), dims.end(), space.dims.begin());
    space.start[0] = context.params.integer();
    const auto strides = context.params.list();
    if (p.elements < 0 || strides.size() != dims.size()) return "sizes out of range";
    set_walk(dims, strides, 0, space.strides);
    const int64_t limit = context.operands[i].present() ? context.operands[i].bytes / p.bytes : 0;
    if (p.elements > 0 && !is_within(dims, strides, space.start[0], limit)) {
      return "input " + std::to_string(i) + " is too small for its strides";
    }
    p.inputs.push_back(space);
  }
  return p.inputs.size() < 2 ? "two inputs or more are needed" : "";
}

std::string prepare_variadic(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<MapVariadic>();
  const auto op = static_cast<kernels::BinaryOp>(context.params.integer());
  const auto type = static_cast<DType>(context.params.integer());
  const bool is_mean = context.params.integer() != 0;
  const bool is_known =
      op == kernels::BinaryOp::add || op == kernels::BinaryOp::min || op == kernels::BinaryOp::max;
  p->run = is_known ? kernels::find_binary(op, type, type) : nullptr;
  p->divide = is_mean ? kernels::find_binary(kernels::BinaryOp::div, type, type) : nullptr;
  if (p->run == nullptr) return "no such operation for this type";
  p->bytes = item_bytes(type);
  if (std::string error = read_inputs(context, *p); !error.empty()) return error;
  if (!holds(context, context.operands.size() - 1, p->elements, p->bytes)) {
    return "output is too small";
  }
  const auto count = static_cast<double>(p->inputs.size());
  visit_numeric(type, [&](auto tag) -> bool {
    const auto value = static_cast<typename decltype(tag)::type>(count);
    std::memcpy(p->count, &value, sizeof(value));
    return true;
  });
  prepared.units = chunk_units(p->elements);
  prepared.params = std::move(p);
  return "";
}

// The first two inputs make the output, each other one is added to it.
RunStatus run_variadic(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const MapVariadic*>(params);
  const int64_t begin = context.begin * kChunk;
  const int64_t end = std::min(context.end * kChunk, p.elements);
  std::byte* out = context.operands[p.inputs.size()];
  IndexSpace<2> pair;
  pair.rank = p.inputs[0].rank;
  pair.dims = p.inputs[0].dims;
  for (size_t i : {size_t{0}, size_t{1}}) {
    pair.start[i] = p.inputs[i].start[0];
    pair.strides[i] = p.inputs[i].strides[0];
  }
  for_each_run(pair, begin, end, [&](const auto& offsets, int64_t position, int64_t count) {
    p.run(context.operands[0] + offsets[0] * p.bytes, pair.last_stride(0),
          context.operands[1] + offsets[1] * p.bytes, pair.last_stride(1), out + position * p.bytes,
          count);
  });
  for (size_t i = 2; i < p.inputs.size(); ++i) {
    const int64_t step = p.inputs[i].last_stride(0);
    for_each_run(p.inputs[i], begin, end,
                 [&](const auto& offsets, int64_t position, int64_t count) {
                   std::byte* to = out + position * p.bytes;
                   p.run(to, 1, context.operands[i] + offsets[0] * p.bytes, step, to, count);
                 });
  }
  if (p.divide != nullptr) {
    std::byte* to = out + begin * p.bytes;
    p.divide(to, 1, p.count, 0, to, end - begin);
  }
  return {};
}

// ---- clip: type, elements. operands: input, low (optional), high (optional), output.

struct Clip {
  kernels::ClipFn run;
  int64_t elements;
  int64_t bytes;
};

std::string prepare_clip(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Clip>();
  const auto type = static_cast<DType>(context.params.integer());
  p->elements = context.params.integer();
  p->run = kernels::find_clip(type);
  if (p->run == nullptr) return "type out of range";
  p->bytes = item_bytes(type);
  if (!holds(context, 0, p->elements, p->bytes)) return "input is too small";
  if (!holds(context, 3, p->elements, p->bytes)) return "output is too small";
  for (const size_t bound : {size_t{1}, size_t{2}}) {
    if (context.operands[bound].present() && !holds(context, bound, 1, p->bytes)) {
      return "a bound is too small";
    }
  }
  prepared.units = chunk_units(p->elements);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_clip(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Clip*>(params);
  const int64_t begin = context.begin * kChunk;
  const int64_t end = std::min(context.end * kChunk, p.elements);
  p.run(context.operands[0] + begin * p.bytes, context.operands[1], context.operands[2],
        context.operands[3] + begin * p.bytes, end - begin);
  return {};
}

// ---- reduce_axes: op, type, inner, dims and strides of the kept axes, of the reduced axes.
// operands: input, output.

struct Reduce {
  kernels::ReduceAxesParams params;
  kernels::ReduceFn run;
  int64_t outputs_per_unit;
};

// Reads dims and strides; -1 when they are out of range.
int64_t read_axes(PrepareContext& context, IndexSpace<1>& space) {
  const auto dims = context.params.list();
  const auto strides = context.params.list();
  if (dims.empty() || dims.size() > kMaxRank || strides.size() != dims.size()) return -1;
  space.rank = static_cast<int>(dims.size());
  std::copy(dims.begin(), dims.end(), space.dims.begin());
  set_walk(dims, strides, 0, space.strides);
  return num_elements(dims);
}

// True when kept + reduced + inner stays inside `limit` elements.
bool is_reduce_within(const kernels::ReduceAxesParams& r, int64_t limit) {
  int64_t dims[2 * kMaxRank + 1];
  int64_t strides[2 * kMaxRank + 1];
  size_t count = 0;
  for (const IndexSpace<1>* space : {&r.kept, &r.reduced}) {
    for (size_t d = 0; d < static_cast<size_t>(space->rank); ++d, ++count) {
      dims[count] = space->dims[d];
      strides[count] = space->strides[0][d];
    }
  }
  dims[count] = r.inner;
  strides[count++] = 1;
  return is_within(std::span(dims, count), std::span(strides, count), 0, limit);
}

std::string prepare_reduce(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Reduce>();
  kernels::ReduceAxesParams& r = p->params;
  const auto op = static_cast<kernels::ReduceOp>(context.params.integer());
  const auto type = static_cast<DType>(context.params.integer());
  r.inner = context.params.integer();
  r.outputs = read_axes(context, r.kept);
  r.reduced_elements = read_axes(context, r.reduced);
  p->run = kernels::find_reduce(op, type);
  if (p->run == nullptr) return "no such reduction for this type";
  if (r.outputs < 0 || r.reduced_elements < 0 || r.inner < 1) return "sizes out of range";
  const int64_t bytes = item_bytes(type);
  const bool is_empty = r.outputs == 0 || r.reduced_elements == 0;
  if (!holds(context, 0, 0, 1)) return "input is absent";
  if (!is_empty && !is_reduce_within(r, context.operands[0].bytes / bytes)) {
    return "input is too small for its strides";
  }
  if (is_empty) r.kept.strides[0].fill(0);  // Nothing is read: these were not checked.
  const int64_t made = checked_product({r.outputs, r.inner});
  const int64_t work = checked_product({r.reduced_elements, r.inner});
  if (work < 0) return "sizes out of range";
  if (!holds(context, 1, made, bytes)) return "output is too small";
  p->outputs_per_unit = std::max<int64_t>(1, kChunk / std::max<int64_t>(1, work));
  prepared.units = ceil_div(r.outputs, p->outputs_per_unit);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_reduce(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Reduce*>(params);
  p.run(p.params, context.operands[0], context.operands[1], context.begin * p.outputs_per_unit,
        std::min(context.end * p.outputs_per_unit, p.params.outputs));
  return {};
}

constexpr Op kOps[] = {
    {"map_binary", &prepare_binary, &run_binary, kLast},
    {"map_unary", &prepare_unary, &run_unary, kLast},
    {"map_variadic", &prepare_variadic, &run_variadic, kLast},
    {"clip", &prepare_clip, &run_clip, kLast},
    {"reduce_axes", &prepare_reduce, &run_reduce, kLast},
};

}  // namespace

std::span<const Op> integer_ops() { return kOps; }

}  // namespace colonnade::exec

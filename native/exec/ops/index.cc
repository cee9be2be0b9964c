// Adapters that read or write by index, order elements along an axis, or choose between tensors.
#include <cstring>

#include "base/dtype.h"
#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/space_params.h"
#include "kernels/index/gather.h"
#include "kernels/index/order.h"
#include "kernels/index/scatter.h"
#include "kernels/reduce/reduce.h"

namespace colonnade::exec {
namespace {

using kernels::AxisShape;

RunStatus to_status(const kernels::IndexFault& fault) {
  if (!fault.is_set()) return {};
  return {RunCode::index_out_of_range, fault.position, fault.value, fault.limit};
}

bool is_index_type(DType type) { return type == DType::int32 || type == DType::int64; }

// Parameters of a unit-split kernel: its own and how many items make a unit.
template <typename P>
struct Grouped {
  P params;
  int64_t items;
  int64_t items_per_unit;
};

// Units of about kChunk elements.
template <typename P>
void set_units(Grouped<P>& p, int64_t items, int64_t elements_per_item, Prepared& prepared) {
  p.items = items;
  p.items_per_unit = std::max<int64_t>(1, kChunk / std::max<int64_t>(1, elements_per_item));
  prepared.units = ceil_div(items, p.items_per_unit);
}

template <typename P>
int64_t first_item(const Grouped<P>& p, const RunContext& context) {
  return context.begin * p.items_per_unit;
}

template <typename P>
int64_t last_item(const Grouped<P>& p, const RunContext& context) {
  return std::min(context.end * p.items_per_unit, p.items);
}

// ---- gather: index_type, outer, dim, count, row_bytes. operands: data, indices, output.

std::string prepare_gather(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Grouped<kernels::GatherParams>>();
  kernels::GatherParams& g = p->params;
  g.index_type = static_cast<DType>(context.params.integer());
  g.outer = context.params.integer();
  g.dim = context.params.integer();
  g.count = context.params.integer();
  g.row_bytes = context.params.integer();
  if (!is_index_type(g.index_type)) return "index type out of range";
  if (!holds(context, 0, checked_product({g.outer, g.dim, g.row_bytes}), 1)) {
    return "data are too small";
  }
  if (!holds(context, 1, g.count, item_bytes(g.index_type))) return "indices are too few";
  if (!holds(context, 2, checked_product({g.outer, g.count, g.row_bytes}), 1)) {
    return "output is too small";
  }
  const int64_t rows = checked_product({g.outer, g.count});
  if (rows < 0) return "sizes out of range";
  set_units(*p, rows, g.row_bytes / 4, prepared);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_gather(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Grouped<kernels::GatherParams>*>(params);
  return to_status(kernels::gather(p.params, context.operands[0], context.operands[1],
                                   context.operands[2], first_item(p, context),
                                   last_item(p, context)));
}

// ---- gather_elements: index_type, item_bytes, axis_dim, axis_stride, space of the data at axis 0.
// operands: data, indices, output.

// Checks that the axis keeps every element of the space inside the data.
template <typename P>
std::string check_axis(const PrepareContext& context, const P& p, int64_t elements) {
  const auto rank = static_cast<size_t>(p.space.rank);
  int64_t dims[kMaxRank + 1];
  int64_t strides[kMaxRank + 1];
  std::copy_n(p.space.dims.begin(), rank, dims);
  std::copy_n(p.space.strides[0].begin(), rank, strides);
  dims[rank] = p.axis_dim;
  strides[rank] = p.axis_stride;
  if (p.axis_dim < 0 || p.axis_stride < 0) return "axis out of range";
  // With an empty axis every index is a fault: nothing is reached.
  if (elements == 0 || p.axis_dim == 0) return "";
  return is_within(std::span(dims, rank + 1), std::span(strides, rank + 1), p.space.start[0],
                   context.operands[0].bytes / p.item_bytes)
             ? ""
             : "data are too small";
}

std::string prepare_gather_elements(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Grouped<kernels::GatherElementsParams>>();
  kernels::GatherElementsParams& g = p->params;
  g.index_type = static_cast<DType>(context.params.integer());
  g.item_bytes = context.params.integer();
  g.axis_dim = context.params.integer();
  g.axis_stride = context.params.integer();
  if (!is_index_type(g.index_type)) return "index type out of range";
  if (!is_item_bytes(g.item_bytes)) return "item size out of range";
  int64_t elements = 0;
  std::string error = read_space<1>(context, {g.item_bytes}, g.space, elements);
  if (error.empty()) error = check_axis(context, g, elements);
  if (!error.empty()) return error;
  if (!holds(context, 1, elements, item_bytes(g.index_type))) return "indices are too few";
  if (!holds(context, 2, elements, g.item_bytes)) return "output is too small";
  set_units(*p, elements, 1, prepared);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_gather_elements(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Grouped<kernels::GatherElementsParams>*>(params);
  return to_status(kernels::gather_elements(p.params, context.operands[0], context.operands[1],
                                            context.operands[2], first_item(p, context),
                                            last_item(p, context)));
}

// ---- scatter_elements: reduction, type, index_type, axis_dim, axis_stride, data elements, space.
// operands: data, indices, updates, output. One unit: the order of updates is their meaning.

struct ScatterElements {
  kernels::ScatterElementsParams params;
  int64_t data_bytes;
};

void copy_data(const RunContext& context, size_t output, int64_t bytes) {
  // The output may have taken over the data's buffer.
  if (context.operands[output] == context.operands[0]) return;
  std::memcpy(context.operands[output], context.operands[0], static_cast<size_t>(bytes));
}

std::string prepare_scatter_elements(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<ScatterElements>();
  kernels::ScatterElementsParams& s = p->params;
  const auto reduction = static_cast<kernels::Reduction>(context.params.integer());
  const auto type = static_cast<DType>(context.params.integer());
  s.index_type = static_cast<DType>(context.params.integer());
  s.axis_dim = context.params.integer();
  s.axis_stride = context.params.integer();
  const int64_t data = context.params.integer();
  s.item_bytes = item_bytes(type);
  s.reduce = kernels::find_reduce_into(reduction, type);
  if (s.reduce == nullptr) return "no such reduction for this type";
  if (!is_index_type(s.index_type)) return "index type out of range";
  std::string error = read_space<1>(context, {s.item_bytes}, s.space, s.elements);
  if (error.empty()) error = check_axis(context, s, s.elements);
  if (!error.empty()) return error;
  if (!holds(context, 1, s.elements, item_bytes(s.index_type))) return "indices are too few";
  if (!holds(context, 2, s.elements, s.item_bytes)) return "updates are too few";
  if (!holds(context, 0, data, s.item_bytes)) return "data are too small";
  // The space was checked against the data: the output must be as large.
  if (!holds(context, 3, context.operands[0].bytes / s.item_bytes, s.item_bytes)) {
    return "output is too small";
  }
  p->data_bytes = data * s.item_bytes;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_scatter_elements(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const ScatterElements*>(params);
  copy_data(context, 3, p.data_bytes);
  return to_status(kernels::scatter_elements(p.params, context.operands[1], context.operands[2],
                                             context.operands[3]));
}

// ---- gather_nd: batch, count, indexed dims, row_bytes. operands: data, indices (int64), output.

std::string prepare_gather_nd(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Grouped<kernels::GatherNdParams>>();
  kernels::GatherNdParams& g = p->params;
  g.batch = context.params.integer();
  g.count = context.params.integer();
  const auto dims = context.params.list();
  g.row_bytes = context.params.integer();
  g.dims.assign(dims.begin(), dims.end());
  g.batch_rows = num_elements(dims);
  const int64_t tuples = checked_product({g.batch, g.count});
  if (g.batch_rows < 0 || tuples < 0) return "sizes out of range";
  if (!holds(context, 0, checked_product({g.batch, g.batch_rows, g.row_bytes}), 1)) {
    return "data are too small";
  }
  if (!holds(context, 1, checked_product({tuples, static_cast<int64_t>(dims.size())}), 8)) {
    return "indices are too few";
  }
  if (!holds(context, 2, checked_product({tuples, g.row_bytes}), 1)) return "output is too small";
  set_units(*p, tuples, g.row_bytes / 4, prepared);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_gather_nd(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Grouped<kernels::GatherNdParams>*>(params);
  return to_status(kernels::gather_nd(p.params, context.operands[0], as<int64_t>(context, 1),
                                      context.operands[2], first_item(p, context),
                                      last_item(p, context)));
}

// ---- scatter_nd: reduction, type, count, indexed dims, row_items. operands: data, indices
// (int64), updates, output. One unit.

struct ScatterNd {
  kernels::ScatterNdParams params;
  int64_t data_bytes;
};

std::string prepare_scatter_nd(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<ScatterNd>();
  kernels::ScatterNdParams& s = p->params;
  const auto reduction = static_cast<kernels::Reduction>(context.params.integer());
  const auto type = static_cast<DType>(context.params.integer());
  s.count = context.params.integer();
  const auto dims = context.params.list();
  s.row_items = context.params.integer();
  s.dims.assign(dims.begin(), dims.end());
  s.item_bytes = item_bytes(type);
  s.reduce = kernels::find_reduce_into(reduction, type);
  if (s.reduce == nullptr) return "no such reduction for this type";
  if (checked_product({s.row_items, s.item_bytes}) < 0) return "sizes out of range";
  const int64_t data = checked_product({num_elements(dims), s.row_items});
  if (!holds(context, 0, data, s.item_bytes)) return "data are too small";
  if (!holds(context, 1, checked_product({s.count, static_cast<int64_t>(dims.size())}), 8)) {
    return "indices are too few";
  }
  if (!holds(context, 2, checked_product({s.count, s.row_items}), s.item_bytes)) {
    return "updates are too few";
  }
  if (!holds(context, 3, data, s.item_bytes)) return "output is too small";
  p->data_bytes = data * s.item_bytes;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_scatter_nd(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const ScatterNd*>(params);
  copy_data(context, 3, p.data_bytes);
  return to_status(kernels::scatter_nd(p.params, as<int64_t>(context, 1), context.operands[2],
                                       context.operands[3]));
}

// ---- one_hot: index_type, item_bytes, outer, depth, inner. operands: indices, values, output.

std::string prepare_one_hot(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Grouped<kernels::OneHotParams>>();
  kernels::OneHotParams& o = p->params;
  o.index_type = static_cast<DType>(context.params.integer());
  o.item_bytes = context.params.integer();
  o.outer = context.params.integer();
  o.depth = context.params.integer();
  o.inner = context.params.integer();
  const int64_t index_bytes = item_bytes(o.index_type);
  if (index_bytes == 0 || o.index_type == DType::boolean || o.index_type == DType::float16) {
    return "index type out of range";
  }
  if (!is_item_bytes(o.item_bytes)) return "item size out of range";
  if (!holds(context, 0, checked_product({o.outer, o.inner}), index_bytes)) {
    return "indices are too few";
  }
  if (!holds(context, 1, 2, o.item_bytes)) return "values are too few";
  if (!holds(context, 2, checked_product({o.outer, o.depth, o.inner}), o.item_bytes)) {
    return "output is too small";
  }
  const int64_t block = checked_product({o.depth, o.inner});
  if (block < 0) return "sizes out of range";
  set_units(*p, o.outer, block, prepared);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_one_hot(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Grouped<kernels::OneHotParams>*>(params);
  kernels::one_hot(p.params, context.operands[0], context.operands[1], context.operands[2],
                   first_item(p, context), last_item(p, context));
  return {};
}

// ---- where: item_bytes, space of condition, a and b. operands: condition, a, b, output.

struct Select {
  IndexSpace<3> space;
  int64_t elements;
  int64_t item_bytes;
};

std::string prepare_where(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Select>();
  p->item_bytes = context.params.integer();
  if (!is_item_bytes(p->item_bytes)) return "item size out of range";
  std::string error =
      read_space<3>(context, {1, p->item_bytes, p->item_bytes}, p->space, p->elements);
  if (!error.empty()) return error;
  if (!holds(context, 3, p->elements, p->item_bytes)) return "output is too small";
  prepared.units = chunk_units(p->elements);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_where(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Select*>(params);
  kernels::select(p.space, p.item_bytes, as<uint8_t>(context, 0), context.operands[1],
                  context.operands[2], context.operands[3], context.begin * kChunk,
                  std::min(context.end * kChunk, p.elements));
  return {};
}

// Reads outer, dim, inner; returns their product, or -1 when one is out of range.
int64_t read_axis_shape(PrepareContext& context, AxisShape& shape) {
  shape.outer = context.params.integer();
  shape.dim = context.params.integer();
  shape.inner = context.params.integer();
  // With no outer index the other two may still be absurd.
  if (checked_product({shape.dim, shape.inner, 16}) < 0) return -1;
  return checked_product({shape.outer, shape.dim, shape.inner});
}

// ---- arg: type, is_min, is_last, outer, dim, inner. operands: input, output (int64).

struct Arg : Grouped<kernels::ArgAxisParams> {
  kernels::ArgFn run;
  const kernels::ReduceRow* row;  // Where float32 has vector code; its units are its own.
};

// Its indices are 32-bit inside.
bool has_vector_code(DType type, const AxisShape& shape) {
  return type == DType::float32 && shape.dim < (int64_t{1} << 31);
}

std::string prepare_arg(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Arg>();
  const auto type = static_cast<DType>(context.params.integer());
  p->params.is_min = context.params.integer() != 0;
  p->params.is_last = context.params.integer() != 0;
  const int64_t elements = read_axis_shape(context, p->params.shape);
  const AxisShape& s = p->params.shape;
  p->run = kernels::find_arg(type);
  if (p->run == nullptr) return "type out of range";
  if (s.dim < 1) return "axis is empty";
  if (!holds(context, 0, elements, item_bytes(type))) return "input is too small";
  if (!holds(context, 1, checked_product({s.outer, s.inner}), 8)) return "output is too small";
  p->row = has_vector_code(type, s) ? &kernels::choose_reduce(context.isa) : nullptr;
  if (p->row != nullptr) {
    prepared.units = elements == 0 ? 0 : kernels::reduce_units({s.outer, s.dim, s.inner});
  } else {
    set_units(*p, s.outer, s.dim * s.inner, prepared);
  }
  prepared.params = std::move(p);
  return "";
}

RunStatus run_arg(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Arg*>(params);
  if (p.row != nullptr) {
    const AxisShape& s = p.params.shape;
    const kernels::ArgParams args{{s.outer, s.dim, s.inner}, p.params.is_min,
                                  p.params.is_last,          as<float>(context, 0),
                                  s.dim * s.inner,           as_mutable<int64_t>(context, 1)};
    p.row->arg(args, context.begin, context.end);
    return {};
  }
  p.run(p.params, context.operands[0], as_mutable<int64_t>(context, 1), first_item(p, context),
        last_item(p, context));
  return {};
}

// ---- top_k: type, k, is_largest, outer, dim, inner. operands: input, values, indices (int64).

struct TopK : Grouped<kernels::TopKParams> {
  kernels::TopKFn run;
};

std::string prepare_top_k(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<TopK>();
  const auto type = static_cast<DType>(context.params.integer());
  p->params.k = context.params.integer();
  p->params.is_largest = context.params.integer() != 0;
  const int64_t elements = read_axis_shape(context, p->params.shape);
  const AxisShape& s = p->params.shape;
  p->run = kernels::find_top_k(type);
  if (p->run == nullptr) return "type out of range";
  if (p->params.k < 0 || p->params.k > s.dim) return "k is larger than the axis";
  const int64_t made = checked_product({s.outer, p->params.k, s.inner});
  if (!holds(context, 0, elements, item_bytes(type))) return "input is too small";
  if (!holds(context, 1, made, item_bytes(type))) return "values are too small";
  if (!holds(context, 2, made, 8)) return "indices are too small";
  set_units(*p, made == 0 ? 0 : checked_product({s.outer, s.inner}), s.dim, prepared);
  prepared.scratch_bytes = s.dim * 16;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_top_k(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const TopK*>(params);
  p.run(p.params, context.operands[0], context.operands[1], as_mutable<int64_t>(context, 2),
        context.scratch, first_item(p, context), last_item(p, context));
  return {};
}

// ---- scan: type, is_exclusive, is_reverse, is_product, outer, dim, inner. operands: input,
// output.

struct Scan : Grouped<kernels::ScanParams> {
  kernels::ScanFn run;
};

std::string prepare_scan(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Scan>();
  const auto type = static_cast<DType>(context.params.integer());
  p->params.is_exclusive = context.params.integer() != 0;
  p->params.is_reverse = context.params.integer() != 0;
  p->params.is_product = context.params.integer() != 0;
  const int64_t elements = read_axis_shape(context, p->params.shape);
  p->run = kernels::find_scan(type);
  if (p->run == nullptr) return "type out of range";
  if (!holds(context, 0, elements, item_bytes(type))) return "input is too small";
  if (!holds(context, 1, elements, item_bytes(type))) return "output is too small";
  const AxisShape& s = p->params.shape;
  set_units(*p, elements == 0 ? 0 : s.outer, s.dim * s.inner, prepared);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_scan(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Scan*>(params);
  p.run(p.params, context.operands[0], context.operands[1], first_item(p, context),
        last_item(p, context));
  return {};
}

constexpr Op kOps[] = {
    {"gather", &prepare_gather, &run_gather, kLast},
    {"gather_elements", &prepare_gather_elements, &run_gather_elements, kLast},
    {"gather_nd", &prepare_gather_nd, &run_gather_nd, kLast},
    {"scatter_elements", &prepare_scatter_elements, &run_scatter_elements, kLast},
    {"scatter_nd", &prepare_scatter_nd, &run_scatter_nd, kLast},
    {"one_hot", &prepare_one_hot, &run_one_hot, kLast},
    {"where", &prepare_where, &run_where, kLast},
    {"arg", &prepare_arg, &run_arg, kLast},
    {"top_k", &prepare_top_k, &run_top_k, {1, 2}},
    {"scan", &prepare_scan, &run_scan, kLast},
};

}  // namespace

std::span<const Op> index_ops() { return kOps; }

}  // namespace colonnade::exec

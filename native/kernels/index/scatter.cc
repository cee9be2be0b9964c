#include "kernels/index/scatter.h"

#include "base/arithmetic.h"
#include "kernels/index/gather.h"

namespace colonnade::kernels {
namespace {

template <typename T, Reduction R>
void reduce_into(const std::byte* from, std::byte* into, int64_t count) {
  const T* x = reinterpret_cast<const T*>(from);
  T* y = reinterpret_cast<T*>(into);
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (R == Reduction::none) y[i] = x[i];
    if constexpr (R == Reduction::add) y[i] = wrap_add(y[i], x[i]);
    if constexpr (R == Reduction::mul) y[i] = wrap_mul(y[i], x[i]);
    if constexpr (R == Reduction::min) y[i] = x[i] < y[i] ? x[i] : y[i];
    if constexpr (R == Reduction::max) y[i] = y[i] < x[i] ? x[i] : y[i];
  }
}

template <typename I>
IndexFault scatter_element_items(const ScatterElementsParams& p, const I* indices,
                                 const std::byte* updates, std::byte* out) {
  IndexFault fault;
  const int64_t step = p.space.last_stride(0);
  for_each_run(p.space, 0, p.elements, [&](const auto& offsets, int64_t position, int64_t count) {
    for (int64_t i = 0; i < count && !fault.is_set(); ++i) {
      const auto value = static_cast<int64_t>(indices[position + i]);
      const int64_t at = wrap_index(value, p.axis_dim);
      if (!is_valid_index(at, p.axis_dim)) {
        fault = {position + i, value, p.axis_dim};
        return;
      }
      const int64_t to = offsets[0] + i * step + at * p.axis_stride;
      p.reduce(updates + (position + i) * p.item_bytes, out + to * p.item_bytes, 1);
    }
  });
  return fault;
}

template <Reduction R>
ReduceIntoFn find_typed(DType type) {
  return visit_numeric(
      type, [](auto tag) -> ReduceIntoFn { return &reduce_into<typename decltype(tag)::type, R>; });
}

}  // namespace

ReduceIntoFn find_reduce_into(Reduction reduction, DType type) {
  switch (reduction) {
    case Reduction::none:
      return visit_item_bytes(item_bytes(type), [](auto tag) -> ReduceIntoFn {
        return &reduce_into<typename decltype(tag)::type, Reduction::none>;
      });
    case Reduction::add:
      return find_typed<Reduction::add>(type);
    case Reduction::mul:
      return find_typed<Reduction::mul>(type);
    case Reduction::min:
      return find_typed<Reduction::min>(type);
    case Reduction::max:
      return find_typed<Reduction::max>(type);
  }
  return nullptr;
}

IndexFault scatter_elements(const ScatterElementsParams& params, const std::byte* indices,
                            const std::byte* updates, std::byte* out) {
  if (params.index_type == DType::int32) {
    return scatter_element_items(params, reinterpret_cast<const int32_t*>(indices), updates, out);
  }
  return scatter_element_items(params, reinterpret_cast<const int64_t*>(indices), updates, out);
}

IndexFault scatter_nd(const ScatterNdParams& params, const int64_t* indices,
                      const std::byte* updates, std::byte* out) {
  IndexFault fault;
  const auto width = static_cast<int64_t>(params.dims.size());
  const int64_t row_bytes = params.row_items * params.item_bytes;
  for (int64_t n = 0; n < params.count; ++n) {
    const int64_t row = find_nd_row(params.dims, indices + n * width, n, fault);
    if (fault.is_set()) return fault;
    params.reduce(updates + n * row_bytes, out + row * row_bytes, params.row_items);
  }
  return fault;
}

}  // namespace colonnade::kernels

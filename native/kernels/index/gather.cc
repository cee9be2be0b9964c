#include "kernels/index/gather.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

namespace colonnade::kernels {
namespace {

template <typename I>
IndexFault gather_rows(const GatherParams& p, const std::byte* in, const I* indices, std::byte* out,
                       int64_t begin, int64_t end) {
  const auto bytes = static_cast<size_t>(p.row_bytes);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t j = row % p.count;
    const int64_t at = wrap_index(static_cast<int64_t>(indices[j]), p.dim);
    if (!is_valid_index(at, p.dim)) return {j, static_cast<int64_t>(indices[j]), p.dim};
    const std::byte* from = in + (row / p.count * p.dim + at) * p.row_bytes;
    std::byte* to = out + row * p.row_bytes;
    // A fixed size is one load and one store instead of a call.
    if (bytes == 4) {
      std::memcpy(to, from, 4);
    } else if (bytes == 8) {
      std::memcpy(to, from, 8);
    } else {
      std::memcpy(to, from, bytes);
    }
  }
  return {};
}

template <typename I, typename T>
IndexFault gather_element_items(const GatherElementsParams& p, const T* in, const I* indices,
                                T* out, int64_t begin, int64_t end) {
  IndexFault fault;
  const int64_t step = p.space.last_stride(0);
  for_each_run(p.space, begin, end, [&](const auto& offsets, int64_t position, int64_t count) {
    for (int64_t i = 0; i < count && !fault.is_set(); ++i) {
      const auto value = static_cast<int64_t>(indices[position + i]);
      const int64_t at = wrap_index(value, p.axis_dim);
      if (!is_valid_index(at, p.axis_dim)) {
        fault = {position + i, value, p.axis_dim};
      } else {
        out[position + i] = in[offsets[0] + i * step + at * p.axis_stride];
      }
    }
  });
  return fault;
}

// Any number as an index; one that int64 cannot hold, and NaN, becomes an index that is never
// valid.
template <typename I>
int64_t to_index(I value) {
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  if constexpr (std::is_floating_point_v<I>) {
    return value > static_cast<I>(-9e18) && value < static_cast<I>(9e18)
               ? static_cast<int64_t>(value)
               : kNever;
  } else {
    return std::in_range<int64_t>(value) ? static_cast<int64_t>(value) : kNever;
  }
}

template <typename T, typename I>
void one_hot_items(const OneHotParams& p, const I* indices, T off, T on, T* out, int64_t begin,
                   int64_t end) {
  const int64_t block = p.depth * p.inner;
  std::fill_n(out + begin * block, (end - begin) * block, off);
  for (int64_t o = begin; o < end; ++o) {
    for (int64_t i = 0; i < p.inner; ++i) {
      const int64_t at = wrap_index(to_index(indices[o * p.inner + i]), p.depth);
      if (is_valid_index(at, p.depth)) out[o * block + at * p.inner + i] = on;
    }
  }
}

// condition ? a : b without a branch, so that the loops below become vector code.
template <typename T>
T blend(uint8_t condition, T a, T b) {
  const T mask = static_cast<T>(-static_cast<T>(condition != 0));
  return static_cast<T>(b ^ ((a ^ b) & mask));
}

template <typename T>
void select_items(const IndexSpace<3>& space, const uint8_t* condition, const T* a, const T* b,
                  T* out, int64_t begin, int64_t end) {
  const int64_t c_step = space.last_stride(0);
  const int64_t a_step = space.last_stride(1);
  const int64_t b_step = space.last_stride(2);
  for_each_run(space, begin, end, [&](const auto& offsets, int64_t position, int64_t count) {
    const uint8_t* c = condition + offsets[0];
    const T* x = a + offsets[1];
    const T* y = b + offsets[2];
    T* to = out + position;
    if (c_step == 1 && a_step == 1 && b_step == 1) {
      for (int64_t i = 0; i < count; ++i) to[i] = blend(c[i], x[i], y[i]);
    } else if (c_step == 1 && a_step == 0 && b_step == 1) {
      const T value = *x;
      for (int64_t i = 0; i < count; ++i) to[i] = blend(c[i], value, y[i]);
    } else if (c_step == 1 && a_step == 1 && b_step == 0) {
      const T value = *y;
      for (int64_t i = 0; i < count; ++i) to[i] = blend(c[i], x[i], value);
    } else {
      for (int64_t i = 0; i < count; ++i) {
        to[i] = c[i * c_step] != 0 ? x[i * a_step] : y[i * b_step];
      }
    }
  });
}

}  // namespace

IndexFault gather(const GatherParams& params, const std::byte* in, const std::byte* indices,
                  std::byte* out, int64_t begin, int64_t end) {
  if (params.index_type == DType::int32) {
    return gather_rows(params, in, reinterpret_cast<const int32_t*>(indices), out, begin, end);
  }
  return gather_rows(params, in, reinterpret_cast<const int64_t*>(indices), out, begin, end);
}

IndexFault gather_elements(const GatherElementsParams& params, const std::byte* in,
                           const std::byte* indices, std::byte* out, int64_t begin, int64_t end) {
  return visit_item_bytes(params.item_bytes, [&](auto tag) -> IndexFault {
    using T = typename decltype(tag)::type;
    const T* from = reinterpret_cast<const T*>(in);
    T* to = reinterpret_cast<T*>(out);
    if (params.index_type == DType::int32) {
      return gather_element_items(params, from, reinterpret_cast<const int32_t*>(indices), to,
                                  begin, end);
    }
    return gather_element_items(params, from, reinterpret_cast<const int64_t*>(indices), to, begin,
                                end);
  });
}

int64_t find_nd_row(const std::vector<int64_t>& dims, const int64_t* tuple, int64_t tuple_number,
                    IndexFault& fault) {
  int64_t row = 0;
  for (size_t d = 0; d < dims.size(); ++d) {
    const int64_t at = wrap_index(tuple[d], dims[d]);
    if (!is_valid_index(at, dims[d])) {
      const auto width = static_cast<int64_t>(dims.size());
      fault = {tuple_number * width + static_cast<int64_t>(d), tuple[d], dims[d]};
      return 0;
    }
    row = row * dims[d] + at;
  }
  return row;
}

IndexFault gather_nd(const GatherNdParams& params, const std::byte* in, const int64_t* indices,
                     std::byte* out, int64_t begin, int64_t end) {
  IndexFault fault;
  const auto width = static_cast<int64_t>(params.dims.size());
  for (int64_t n = begin; n < end; ++n) {
    const int64_t row = find_nd_row(params.dims, indices + n * width, n, fault);
    if (fault.is_set()) return fault;
    const int64_t base = n / params.count * params.batch_rows;
    std::memcpy(out + n * params.row_bytes, in + (base + row) * params.row_bytes,
                static_cast<size_t>(params.row_bytes));
  }
  return fault;
}

void one_hot(const OneHotParams& params, const std::byte* indices, const std::byte* values,
             std::byte* out, int64_t begin, int64_t end) {
  visit_numeric(params.index_type, [&](auto index_tag) -> bool {
    using I = typename decltype(index_tag)::type;
    return visit_item_bytes(params.item_bytes, [&](auto tag) -> bool {
      using T = typename decltype(tag)::type;
      T off_on[2];
      std::memcpy(off_on, values, sizeof(off_on));
      one_hot_items(params, reinterpret_cast<const I*>(indices), off_on[0], off_on[1],
                    reinterpret_cast<T*>(out), begin, end);
      return true;
    });
  });
}

void select(const IndexSpace<3>& space, int64_t item_bytes, const uint8_t* condition,
            const std::byte* a, const std::byte* b, std::byte* out, int64_t begin, int64_t end) {
  visit_item_bytes(item_bytes, [&](auto tag) -> bool {
    using T = typename decltype(tag)::type;
    select_items(space, condition, reinterpret_cast<const T*>(a), reinterpret_cast<const T*>(b),
                 reinterpret_cast<T*>(out), begin, end);
    return true;
  });
}

}  // namespace colonnade::kernels

#include "kernels/shape/grid_gather.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace colonnade::kernels {
namespace {

// Offset of output row `row` in the input, or kFill.
int64_t row_offset(const GridGatherParams& p, int64_t row) {
  int64_t offset = 0;
  for (int axis = p.rank - 2; axis >= 0; --axis) {
    const auto d = static_cast<size_t>(axis);
    const int64_t at = p.offsets[d][static_cast<size_t>(row % p.out_dims[d])];
    if (at == kFill) return kFill;
    row /= p.out_dims[d];
    offset += at;
  }
  return offset;
}

template <typename T>
void repeat_row(const T* in, int64_t repeat, int64_t count, T* out) {
  if (repeat == 2) {
    for (int64_t i = 0; i < count; ++i) {
      out[2 * i] = in[i];
      out[2 * i + 1] = in[i];
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i, out += repeat) std::fill_n(out, repeat, in[i]);
}

template <typename T>
void gather_row(const GridGatherParams& p, const T* in, T fill, T* out) {
  if (p.last_repeat > 1) {
    repeat_row(in, p.last_repeat, std::ssize(p.last), out);
    return;
  }
  if (!p.last_table.empty()) {
    for (const int64_t at : p.last_table) *out++ = at == kFill ? fill : in[at];
    return;
  }
  for (const TableRun& run : p.last) {
    if (run.first == kFill) {
      std::fill_n(out, run.count, fill);
    } else if (run.step == 1) {
      std::memcpy(out, in + run.first, static_cast<size_t>(run.count) * sizeof(T));
    } else if (run.step == 0) {
      std::fill_n(out, run.count, in[run.first]);
    } else {
      for (int64_t i = 0; i < run.count; ++i) out[i] = in[run.first + i * run.step];
    }
    out += run.count;
  }
}

template <typename T>
void gather_rows(const GridGatherParams& p, const std::byte* in, const std::byte* fill,
                 std::byte* out, int64_t begin, int64_t end) {
  T value{};
  if (fill != nullptr) std::memcpy(&value, fill, sizeof(T));
  const T* from = reinterpret_cast<const T*>(in);
  const int64_t cols = p.out_dims[static_cast<size_t>(p.rank - 1)];
  T* to = reinterpret_cast<T*>(out) + begin * cols;
  int64_t previous = 0;
  for (int64_t row = begin; row < end; ++row, to += cols) {
    const int64_t offset = row_offset(p, row);
    if (row > begin && offset == previous) {
      std::memcpy(to, to - cols, static_cast<size_t>(cols) * sizeof(T));  // Nearest resize.
    } else if (offset == kFill) {
      std::fill_n(to, cols, value);
    } else {
      gather_row(p, from + offset, value, to);
    }
    previous = offset;
  }
}

}  // namespace

void grid_gather(const GridGatherParams& params, const std::byte* in, const std::byte* fill,
                 std::byte* out, int64_t begin, int64_t end) {
  switch (params.item_bytes) {
    case 1:
      return gather_rows<uint8_t>(params, in, fill, out, begin, end);
    case 2:
      return gather_rows<uint16_t>(params, in, fill, out, begin, end);
    case 4:
      return gather_rows<uint32_t>(params, in, fill, out, begin, end);
    default:
      return gather_rows<uint64_t>(params, in, fill, out, begin, end);
  }
}

}  // namespace colonnade::kernels

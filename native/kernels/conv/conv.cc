#include "kernels/conv/conv.h"

#include <algorithm>

#include "kernels/conv/blocks.h"

namespace colonnade {

#define CONV_ROW(name, space, isa, rows, vectors, lanes)                        \
  namespace space {                                                             \
  void name(const kernels::ConvParams&, int64_t panel_begin, int64_t panel_end, \
            int64_t tile_begin, int64_t tile_end, void* scratch);               \
  }
#define CONV_TRANSPOSE_ROW CONV_ROW
#include "kernels/conv/kernels.inc"
#undef CONV_ROW
#undef CONV_TRANSPOSE_ROW

namespace kernels {
namespace {

constexpr ConvRow kRows[] = {
#define CONV_ROW(name, space, isa, rows, vectors, lanes) \
  {#name, Isa::isa, rows, vectors, lanes, &space::name},
#include "kernels/conv/kernels.inc"
#undef CONV_ROW
};

constexpr ConvRow kTransposeRows[] = {
#define CONV_TRANSPOSE_ROW(name, space, isa, rows, vectors, lanes) \
  {#name, Isa::isa, rows, vectors, lanes, &space::name},
#include "kernels/conv/kernels.inc"
#undef CONV_TRANSPOSE_ROW
};

template <size_t kCount>
const ConvRow& best_row(const ConvRow (&rows)[kCount], Isa isa) {
  const ConvRow* best = &rows[0];
  for (const ConvRow& row : rows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

int64_t block_channels(const ConvShape& s) {
  const int64_t channels = s.channels / s.group;
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t most = std::max<int64_t>(1, kConvBlockRows / taps);
  const int64_t blocks = (channels + most - 1) / most;
  return (channels + blocks - 1) / blocks;
}

int64_t scratch_bytes(const ConvRow& row, const ConvShape& s) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t packed_bytes = block_channels(s) * taps * row.panel_lanes * 4;
  return packed_bytes + std::min(taps, kConvPlannedTaps) * row.panel_lanes * kConvRunBytes;
}

// Calls fn(position in packed, out channel, channel in group, tap) in packed order.
template <typename Fn>
void for_each_weight(const ConvShape& s, int64_t tile_rows, const Fn& fn) {
  const int64_t channels = s.channels / s.group, outs = s.out_channels / s.group;
  const int64_t taps = s.kernel_h * s.kernel_w, block = block_channels(s);
  int64_t position = 0;
  for (int64_t group = 0; group < s.group; ++group) {
    for (int64_t first = 0; first < outs; first += tile_rows) {
      const int64_t rows = std::min(tile_rows, outs - first);
      for (int64_t c0 = 0; c0 < channels; c0 += block) {
        const int64_t c1 = std::min(c0 + block, channels);
        for (int64_t tap = 0; tap < taps; ++tap) {
          for (int64_t c = c0; c < c1; ++c) {
            for (int64_t r = 0; r < rows; ++r) fn(position++, group * outs + first + r, c, tap);
          }
        }
      }
    }
  }
}

// Position in ONNX order of Conv weights, and of ConvTranspose weights.
int64_t conv_index(const ConvShape& s, int64_t out, int64_t channel, int64_t tap) {
  return (out * (s.channels / s.group) + channel) * s.kernel_h * s.kernel_w + tap;
}

int64_t transpose_index(const ConvShape& s, int64_t out, int64_t channel, int64_t tap) {
  const int64_t outs = s.out_channels / s.group;
  const int64_t group = out / outs;
  return ((group * (s.channels / s.group) + channel) * outs + out % outs) * s.kernel_h *
             s.kernel_w +
         tap;
}

}  // namespace

std::span<const ConvRow> conv_rows() { return kRows; }
std::span<const ConvRow> conv_transpose_rows() { return kTransposeRows; }
const ConvRow& choose_conv(Isa isa, const ConvShape&) { return best_row(kRows, isa); }
const ConvRow& choose_conv_transpose(Isa isa, const ConvShape&) {
  return best_row(kTransposeRows, isa);
}

bool is_pointwise(const ConvShape& s) {
  return s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
         s.pad_top == 0 && s.pad_left == 0 && s.in_h == s.out_h && s.in_w == s.out_w;
}

int64_t conv_tiles(const ConvShape& s, int32_t tile_rows) {
  return s.group * ((s.out_channels / s.group + tile_rows - 1) / tile_rows);
}

int64_t conv_scratch_bytes(const ConvRow& row, const ConvShape& s) { return scratch_bytes(row, s); }
int64_t conv_transpose_scratch_bytes(const ConvRow& row, const ConvShape& s) {
  return scratch_bytes(row, s);
}

void pack_conv_weights(const float* w, const ConvShape& s, const ConvRow& row, float* packed) {
  for_each_weight(s, row.tile_rows, [&](int64_t position, int64_t o, int64_t c, int64_t tap) {
    packed[position] = w[conv_index(s, o, c, tap)];
  });
}

void unpack_conv_weights(const float* packed, const ConvShape& s, const ConvRow& row, float* w) {
  for_each_weight(s, row.tile_rows, [&](int64_t position, int64_t o, int64_t c, int64_t tap) {
    w[conv_index(s, o, c, tap)] = packed[position];
  });
}

void pack_conv_transpose_weights(const float* w, const ConvShape& s, const ConvRow& row,
                                 float* packed) {
  for_each_weight(s, row.tile_rows, [&](int64_t position, int64_t o, int64_t c, int64_t tap) {
    packed[position] = w[transpose_index(s, o, c, tap)];
  });
}

void unpack_conv_transpose_weights(const float* packed, const ConvShape& s, const ConvRow& row,
                                   float* w) {
  for_each_weight(s, row.tile_rows, [&](int64_t position, int64_t o, int64_t c, int64_t tap) {
    w[transpose_index(s, o, c, tap)] = packed[position];
  });
}

}  // namespace kernels
}  // namespace colonnade

#include "kernels/qmatmul/qmatmul.h"

#include <algorithm>

#include "kernels/conv/blocks.h"

namespace colonnade {

#define BYTE_MATMUL_ROW(name, space, isa, lanes)                                                   \
  namespace space {                                                                                \
  void name##_matmul(const kernels::ByteMatmulParams&, int64_t, int64_t, int64_t, int64_t, void*); \
  void name##_conv(const kernels::ByteConvParams&, int64_t, int64_t, int64_t, int64_t, void*);     \
  void name##_depthwise(const kernels::ByteConvParams&, int64_t, int64_t, int64_t, int64_t,        \
                        void*);                                                                    \
  void name##_sparse(const kernels::ByteSparseParams&, int64_t, int64_t, int64_t, int64_t, void*); \
  void name##_quantize(const kernels::ByteBorderParams&, int64_t, int64_t);                        \
  void name##_dequantize(const kernels::ByteBorderParams&, int64_t, int64_t);                      \
  }
#include "kernels/qmatmul/kernels.inc"
#undef BYTE_MATMUL_ROW

namespace kernels {
namespace {

constexpr ByteMatmulRow kRows[] = {
#define BYTE_MATMUL_ROW(name, space, isa, lanes) \
  {#name,                                        \
   Isa::isa,                                     \
   lanes,                                        \
   &space::name##_matmul,                        \
   &space::name##_conv,                          \
   &space::name##_depthwise,                     \
   &space::name##_sparse,                        \
   &space::name##_quantize,                      \
   &space::name##_dequantize},
#include "kernels/qmatmul/kernels.inc"
#undef BYTE_MATMUL_ROW
};

// float rows of four tiles that an epilogue works on before they become bytes.
constexpr int64_t kStagedRows = 4 * kByteTile;

// Where a weight goes: row m, depth k in bytes of `groups` byte groups.
int8_t& packed_at(int8_t* packed, int64_t groups, int64_t m, int64_t k) {
  const int64_t tile = m / kByteTile, row = m % kByteTile;
  return packed[((tile * groups + k / kByteGroup) * kByteTile + row) * kByteGroup + k % kByteGroup];
}

}  // namespace

std::span<const ByteMatmulRow> byte_matmul_rows() { return kRows; }

const ByteMatmulRow& choose_byte_matmul(Isa isa) {
  const ByteMatmulRow* best = &kRows[0];
  for (const ByteMatmulRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

bool has_byte_conv(const ConvShape& s) {
  const int64_t channels = s.channels / s.group, outs = s.out_channels / s.group;
  const bool is_whole = channels % kByteGroup == 0 && outs % kByteTile == 0;
  return (s.group == 1 || is_whole) && channels * s.kernel_h * s.kernel_w <= kByteDepthMax;
}

bool has_byte_depthwise(const ConvShape& s) {
  return s.group == s.channels && s.channels == s.out_channels &&
         s.kernel_h * s.kernel_w <= kByteDepthMax;
}

int64_t byte_matmul_scratch_bytes(int64_t panel_lanes) { return kStagedRows * panel_lanes * 4; }

int64_t byte_conv_scratch_bytes(const ConvShape& s, int64_t panel_lanes) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t rows = byte_groups(s.channels / s.group) * taps;
  const int64_t plan = std::min(taps, kConvPlannedTaps) * panel_lanes * kConvRunBytes;
  return byte_matmul_scratch_bytes(panel_lanes) + rows * panel_lanes * 4 + plan;
}

int64_t byte_sparse_scratch_bytes(const ConvShape* shape, int64_t panel_lanes) {
  const int64_t sums = kSparseRowBlock * panel_lanes * 4;
  return sums + (shape == nullptr ? byte_matmul_scratch_bytes(panel_lanes)
                                  : byte_conv_scratch_bytes(*shape, panel_lanes));
}

std::vector<int8_t> pad_byte_rows(const int8_t* w, int64_t m, int64_t k, const ConvShape* shape) {
  const int64_t taps = shape == nullptr ? 1 : shape->kernel_h * shape->kernel_w;
  const int64_t channels = k / taps, padded = byte_groups(channels) * kByteGroup;
  std::vector<int8_t> rows(static_cast<size_t>(m * taps * padded), int8_t{0});
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        rows[static_cast<size_t>((row * taps + tap) * padded + c)] =
            w[(row * channels + c) * taps + tap];
      }
    }
  }
  return rows;
}

int64_t packed_byte_weights(int64_t m, int64_t k) {
  return byte_tiles(m) * byte_groups(k) * kByteTile * kByteGroup;
}

void pack_byte_weights(const int8_t* w, int64_t m, int64_t k, int8_t* packed) {
  std::fill_n(packed, packed_byte_weights(m, k), int8_t{0});
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t i = 0; i < k; ++i) packed_at(packed, byte_groups(k), row, i) = w[row * k + i];
  }
}

int64_t packed_byte_conv_weights(const ConvShape& s) {
  const int64_t groups = byte_groups(s.channels / s.group) * s.kernel_h * s.kernel_w;
  return byte_tiles(s.out_channels) * groups * kByteTile * kByteGroup;
}

void pack_byte_conv_weights(const int8_t* w, const ConvShape& s, int8_t* packed) {
  const int64_t channels = s.channels / s.group, taps = s.kernel_h * s.kernel_w;
  const int64_t padded = byte_groups(channels) * kByteGroup;
  std::fill_n(packed, packed_byte_conv_weights(s), int8_t{0});
  for (int64_t m = 0; m < s.out_channels; ++m) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        packed_at(packed, byte_groups(channels) * taps, m, tap * padded + c) =
            w[(m * channels + c) * taps + tap];
      }
    }
  }
}

int64_t packed_byte_depthwise_weights(const ConvShape& s) {
  const int64_t taps = byte_groups(s.kernel_h * s.kernel_w) * kByteGroup;
  return byte_tiles(s.channels) * kByteTile * taps;
}

void pack_byte_depthwise_weights(const int8_t* w, const ConvShape& s, int8_t* packed) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  std::fill_n(packed, packed_byte_depthwise_weights(s), int8_t{0});
  for (int64_t c = 0; c < s.channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      packed_at(packed, byte_groups(taps), c, tap) = w[c * taps + tap];
    }
  }
}

}  // namespace kernels
}  // namespace colonnade

// Products of 8-bit integers on column panels: a product, a convolution, a depthwise convolution.
//
//   acc[m, l] = sum over k of W[m, k] * X[k, l]          uint8 X, int8 W, exactly in int32
//   v = float(acc - x_zero * w_sum[m]) * (x_scale * w_scale[m]) + bias[m], clamped to lo..hi
//   then the epilogue on rows of float32, then float32 panels or, when y_scale is there, bytes:
//   round(min(max(v * (1 / y_scale), -y_zero), 255 - y_zero)) + y_zero, ties to even; NaN gives 0
//
// Product and sum are rounded apart: the same bits on every instruction set, for any split. x_zero
// counts where a convolution reads outside of the image.
//
// Byte panels hold features in groups of four, which share a lane of 32 bits: feature f of column l
// is byte f % 4 of lane l % NB in row f / 4 of panel l / NB. What lies behind the last feature is
// written as 0 and multiplied by weights of 0. Buffers as in matmul.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu_features.h"
#include "kernels/bytes/bytes.h"
#include "kernels/conv/conv.h"
#include "kernels/sparse_matmul/sparse_matmul.h"

namespace colonnade::kernels {

// Rows of W in a tile: they make one group of output bytes.
inline constexpr int64_t kByteTile = 4;
// Rows of W, and byte groups along k, of a block of weights (ByteWeightForm::blocks).
inline constexpr int64_t kByteBlockRows = 16, kByteBlockGroups = 16;
// Terms that surely fit int32: 2^15 * 255 * 128 < 2^31.
inline constexpr int64_t kByteDepthMax = int64_t{1} << 15;

// From sums to outputs. y_scale null: float32 panels at y, else bytes at y_bytes.
struct ByteOutput {
  const float* w_scale;  // [m]
  const int32_t* w_sum;  // [m]
  const float* bias;     // [m], or null.
  const float* x_scale;  // One value, as the next three.
  const uint8_t* x_zero;
  const float* y_scale;  // Or null.
  const uint8_t* y_zero;
  float* y;
  uint8_t* y_bytes;
  int64_t m;
  float lo;
  float hi;
  PanelEpilogue epilogue;  // Or null. As in matmul.h.
  void* epilogue_context;
};

// How a kernel wants the weights of products and convolutions; depthwise ones are alike for all.
enum class ByteWeightForm : uint8_t {
  fours,          // [tile][byte group][row of the tile][byte]
  bounded_fours,  // Pairs bounded (bounded_pairs.h), of sparse layers too; what exceeds is apart.
  blocks,         // [kByteBlockRows rows][kByteBlockGroups byte groups][row][byte group][byte]
};

// What a tile's weights exceed the bound of pairs by (bounded_pairs.h): four rows in a step, each
// with a byte group of its own.
struct ByteExcessStep {
  uint16_t group[kByteTile];
  int8_t weights[kByteTile][kByteGroup];
};

// Packed weights; of a depthwise convolution `tiles` alone.
struct ByteWeights {
  const int8_t* tiles;
  const int32_t* first;  // [tiles + 1] into `excess`; null unless bounded_fours.
  const ByteExcessStep* excess;
};

struct ByteMatmulParams {
  ByteOutput out;
  int64_t k;
  int64_t l;
  ByteWeights w;     // Packed by pack_byte_weights.
  const uint8_t* x;  // Byte panels of k features.
};

struct ByteConvParams {
  ByteOutput out;
  ConvShape shape;
  ByteWeights w;  // Packed by pack_byte_conv_weights, or pack_byte_depthwise_weights.
  const uint8_t* x;
};

// A product or, with taps, a convolution whose weights that are zero are left out, four at a time.
struct ByteSparseParams {
  ByteOutput out;
  SparseGeometry geometry;  // k and k_block count byte groups (of a convolution: tap, channel).
  int64_t columns;          // Of y.
  // Packed by pack_sparse_payloads of pad_byte_rows, kByteTile rows a group.
  const std::byte* w;
  const uint8_t* x;
  const ConvShape* shape;  // Null: a product.
};

struct ByteMatmulRow {
  const char* name;
  Isa isa;
  int32_t panel_lanes;
  ByteWeightForm form;
  bool is_emulated;  // For tests: the instructions of another ISA in plain C++. Never chosen.
  // Tiles [tile_begin, tile_end) of kByteTile rows of panels [panel_begin, panel_end). `scratch`:
  // byte_*_scratch_bytes, 64-byte aligned, private to the thread.
  void (*matmul)(const ByteMatmulParams&, int64_t panel_begin, int64_t panel_end,
                 int64_t tile_begin, int64_t tile_end, void* scratch);
  void (*conv)(const ByteConvParams&, int64_t panel_begin, int64_t panel_end, int64_t tile_begin,
               int64_t tile_end, void* scratch);
  // group = channels = out_channels; a tile is four channels.
  void (*depthwise)(const ByteConvParams&, int64_t panel_begin, int64_t panel_end,
                    int64_t tile_begin, int64_t tile_end, void* scratch);
  // Row blocks [block_begin, block_end) of kSparseRowBlock rows of all groups.
  void (*sparse)(const ByteSparseParams&, int64_t panel_begin, int64_t panel_end,
                 int64_t block_begin, int64_t block_end, void* scratch);
  // Borders of panels of `features`.
  void (*quantize)(const struct ByteBorderParams&, int64_t panel_begin, int64_t panel_end);
  void (*dequantize)(const struct ByteBorderParams&, int64_t panel_begin, int64_t panel_end);
};

struct ByteBorderParams {
  const float* scale;
  const uint8_t* zero;
  float* values;
  uint8_t* bytes;
  int64_t features;
};

std::span<const ByteMatmulRow> byte_matmul_rows();
const ByteMatmulRow& choose_byte_matmul(Isa isa);

constexpr int64_t byte_tiles(int64_t m) { return (m + kByteTile - 1) / kByteTile; }
// Tiles that a kernel makes at once: work is best cut at multiples of them.
constexpr int64_t byte_tiles_together(ByteWeightForm form) {
  return form == ByteWeightForm::blocks ? kByteBlockRows / kByteTile : 1;
}
// Groups of out_channels must be whole tiles, and groups of channels whole byte groups, or one.
bool has_byte_conv(const ConvShape& shape);
// Kernels of at most kByteSpanRows x kByteSpanColumns, dilated, and strides of kByteStrideMax.
bool has_byte_depthwise(const ConvShape& shape);
inline constexpr int64_t kByteSpanRows = 256, kByteSpanColumns = 4096, kByteStrideMax = 64;

// Output columns that a depthwise convolution takes at once, at most.
inline constexpr int64_t kByteChunkColumns = 1024;

// What a depthwise convolution copies of an image, in lanes of 32 bits; see depthwise.inc.
struct BytePlane {
  int64_t row_lanes;
  int64_t lanes;       // Of all rows of one remainder.
  int64_t line_lanes;  // A row with its padding.
};
BytePlane byte_plane(const ConvShape& shape, int64_t panel_lanes);
// Room for outputs of a chunk.
int64_t byte_chunk_lanes(int64_t panel_lanes);

int64_t byte_matmul_scratch_bytes(int64_t panel_lanes);
int64_t byte_conv_scratch_bytes(const ConvShape& shape, int64_t panel_lanes);
int64_t byte_depthwise_scratch_bytes(const ConvShape& shape, int64_t panel_lanes);
// `shape` null: a product.
int64_t byte_sparse_scratch_bytes(const ConvShape* shape, int64_t panel_lanes);

// w: [m][k]. Packed: see ByteWeightForm; zeros where there is no weight. Behind bounded fours
// follow [tiles + 1] int32, the first step of each tile's excess, and the steps. The last block
// along k ends with the last byte group: what it shares with the block before is zero in it.
std::vector<std::byte> pack_byte_weights(const int8_t* w, int64_t m, int64_t k,
                                         ByteWeightForm form);
// w: ONNX order. Packed as above, byte groups of a group's channels in the order tap, channel.
std::vector<std::byte> pack_byte_conv_weights(const int8_t* w, const ConvShape& shape,
                                              ByteWeightForm form);
// Byte groups along k of one output.
int64_t byte_conv_groups(const ConvShape& shape);
// Null when `packed` holds m rows of `groups` byte groups; else what is wrong with it.
const char* verify_byte_weights(std::span<const std::byte> packed, int64_t m, int64_t groups,
                                ByteWeightForm form);
ByteWeights view_byte_weights(const std::byte* packed, int64_t m, int64_t groups,
                              ByteWeightForm form);
// [rows][byte group][byte], zeros behind the last: what pack_sparse_payloads takes. w as for the
// functions above; `shape` null: [m][k].
std::vector<int8_t> pad_byte_rows(const int8_t* w, int64_t m, int64_t k, const ConvShape* shape);
// w: [channels][taps]. Packed: [four channels][four taps][channel][tap], zeros where there is none.
int64_t packed_byte_depthwise_weights(const ConvShape& shape);
void pack_byte_depthwise_weights(const int8_t* w, const ConvShape& shape, int8_t* packed);

}  // namespace colonnade::kernels

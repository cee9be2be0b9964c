// Sparse fp32 matrix products and convolutions: weights that are zero take no memory and no time.
//
//   columns  Y[m, l] = clamp(bias[m] + residual[m, l] + sum over W[m, k] != 0 of W[m, k] * X[k, l],
//                lo, hi), on column panels as in matmul.h
//   conv     the same product over the taps of a convolution, as in conv.h
//
// A weight that is exactly zero does not multiply: NaN or infinity in X does not pass through it.
// Each output sums its terms from zero within a block of k, then the blocks in order, then bias and
// residual; any split of the ranges gives the same bits. |error| <= (k + 3) * 2^-24 * (|W||X|).
// Kernels are pure, and buffers as in matmul.h.
//
// Packed weights (made by pack_sparse_weights, checked by verify_sparse_weights):
//
//   depth is cut in blocks of k_block, whose rows of an X panel stay in L1; rows of W in blocks of
//   kSparseRowBlock. The nonzeros of one row block in one depth block are a *part*: buckets of
//   groups, a group being R rows in lockstep (R = tile_rows, or 1 for what is left over):
//
//     int64  begin[parts + 1]                    bytes from the start; part (group, depth block,
//                                                row block), row block fastest
//     bucket uint32 groups, uint8 kind, uint8 0, uint16 steps
//     group  uint16 row[R]; then `steps` of
//            lockstep  uint16 offset[R], float weight[R]
//            shared    uint16 offset, uint16 0, float weight[R]   (all rows have the same columns)
//            single    (R = 1) group: uint16 row, uint16 0; step: uint16 offset, uint16 0, float
//
//   `row` counts from the row block's first; `offset` is the byte offset of X's row from the depth
//   block's first. Rows are sorted by their number of nonzeros (SELL-R-sigma: Kreutzer et al., "A
//   unified sparse matrix data format", 2014), so lockstep wastes little; a short row's missing
//   steps halve its largest weight, which is exact, instead of multiplying by zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu_features.h"
#include "kernels/conv/conv.h"
#include "kernels/matmul/matmul.h"

namespace colonnade::kernels {

inline constexpr int64_t kSparseRowBlock = 64;

enum class SparseKind : uint8_t { lockstep = 0, shared = 1, single = 2 };

struct SparseBucket {
  uint32_t groups;
  SparseKind kind;
  uint8_t zero;
  uint16_t steps;
};
static_assert(sizeof(SparseBucket) == 8);

// How the weights of a layer are cut. A plain product has one group.
struct SparseGeometry {
  int64_t groups;
  int64_t m;  // Rows of a group.
  int64_t k;  // Depth of a group.
  int64_t k_block;

  int64_t row_blocks() const { return (m + kSparseRowBlock - 1) / kSparseRowBlock; }
  int64_t k_blocks() const { return (k + k_block - 1) / k_block; }
  int64_t tiles() const { return groups * row_blocks(); }
  int64_t parts() const { return tiles() * k_blocks(); }
};

struct SparseMatmulParams {
  SparseGeometry geometry;
  int64_t l;
  const std::byte* w;  // Packed by pack_sparse_weights for the same row.
  const float* bias;   // [m], or null.
  const float* x;
  float* y;
  const float* residual;  // Panels like y, or null.
  int64_t x_panel_stride;
  int64_t y_panel_stride;
  int64_t residual_panel_stride;
  float lo;
  float hi;
  PanelEpilogue epilogue;  // Or null.
  void* epilogue_context;
};

struct SparseMatmulRow {
  const char* name;
  Isa isa;
  int32_t tile_rows;  // R.
  int32_t panel_lanes;
  // Computes row blocks [tile_begin, tile_end) of panels [panel_begin, panel_end).
  void (*run)(const SparseMatmulParams&, int64_t panel_begin, int64_t panel_end, int64_t tile_begin,
              int64_t tile_end);
};

std::span<const SparseMatmulRow> sparse_matmul_rows();
const SparseMatmulRow& choose_sparse_matmul(Isa isa);
// The largest k_block whose offsets fit 16 bits.
int64_t sparse_k_block_max(int64_t panel_lanes);

struct SparseConvParams {
  ConvParams conv;  // Without w; residual and epilogue as there.
  SparseGeometry geometry;
  int64_t block_channels;  // k_block = block_channels * taps.
  const std::byte* w;
};

struct SparseConvRow {
  const char* name;
  Isa isa;
  int32_t tile_rows;
  int32_t panel_lanes;
  // As SparseMatmulRow.run, over all groups' row blocks. `scratch`: sparse_conv_scratch_bytes.
  void (*run)(const SparseConvParams&, int64_t panel_begin, int64_t panel_end, int64_t tile_begin,
              int64_t tile_end, void* scratch);
};

std::span<const SparseConvRow> sparse_conv_rows();
const SparseConvRow& choose_sparse_conv(Isa isa);
int64_t sparse_conv_scratch_bytes(const SparseConvRow& row, const SparseConvParams& params);

// What 32 bits of the format hold.
enum class SparsePayload {
  float32,
  integer,        // A float32 that is one.
  bytes,          // Four int8 along k.
  bounded_bytes,  // What exceeds the bound of pairs (bounded_pairs.h) is a step of its own.
};

// As pack_sparse_weights, of 32-bit payloads; of bytes, k counts fours. A short row of integers or
// bytes is filled with zeros, so that all weights stay integers.
std::vector<std::byte> pack_sparse_payloads(const void* payloads, SparsePayload kind,
                                            const SparseGeometry& geometry, int32_t tile_rows,
                                            int32_t panel_lanes);
// w: [groups * m][k], k in the order in which X's rows come (for a convolution: block of channels,
// tap, channel). Empty when the geometry does not fit the format.
std::vector<std::byte> pack_sparse_weights(const float* w, const SparseGeometry& geometry,
                                           int32_t tile_rows, int32_t panel_lanes);
// The inverse, bit for bit except for weights that were split (their sum is exact).
void unpack_sparse_weights(const std::byte* packed, const SparseGeometry& geometry,
                           int32_t tile_rows, int32_t panel_lanes, float* w);
// Null, or what is wrong: after this no kernel reads or writes outside of its buffers, and every
// row of y is written.
const char* verify_sparse_weights(std::span<const std::byte> packed, const SparseGeometry& geometry,
                                  int32_t tile_rows, int32_t panel_lanes);

}  // namespace colonnade::kernels

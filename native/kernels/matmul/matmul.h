// Dense fp32 matrix products.
//
// Three forms, each a table of kernels:
//
//   columns  Y[m, l] = clamp(W[m, k] * X[k, l] + bias[m] + residual[m, l], lo, hi)
//            X, Y and residual are column panels: element (f, l) lies at
//            (l / lanes) * panel_stride + f * lanes + l % lanes. W is packed once.
//   rows     Y[l, m] = clamp(X[l, k] * W^T + bias[m], lo, hi), X and Y row-major, W packed once.
//            For few columns: at l = 1 it streams W at memory speed.
//   general  C[m, n] = scale * A[m, k] * B[k, n], nothing packed before the call.
//
// Every kernel is pure: no allocation, no threads, no globals. Work is split by ranges of panels
// (or rows) and of tiles; each output is summed in one fixed order, so any split of the ranges
// gives the same bits. fp32 sums of k terms: |error| <= (k + 3) * 2^-24 * (|W||X|). Overflow gives
// Inf.
//
// Panel buffers hold whole panels. Lanes past column l - 1 may hold any bits and stay private to
// their lane; the kernel may overwrite them. Y must not overlap X, W or the residual.
// Packed weights must be 64-byte aligned; panels should be (speed only).
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"

namespace colonnade::kernels {

// Called when rows m0..m1 of one panel are final and still in L1. They are contiguous:
// (m1 - m0) * lanes floats at y_rows. Calls of one thread come in order of panel, then of row.
using PanelEpilogue = void (*)(void* context, float* y_rows, int64_t panel, int64_t m0, int64_t m1);

struct MatmulParams {
  int64_t m;
  int64_t k;
  int64_t l;
  const float* w;     // Packed by pack_matmul_weights for the same tile_rows.
  const float* bias;  // [m], or null.
  const float* x;
  float* y;
  const float* residual;   // Panels like y, or null.
  int64_t x_panel_stride;  // Floats between panels: k * lanes when dense, more when x, y or
  int64_t y_panel_stride;  // the residual is a band of features of a wider matrix.
  int64_t residual_panel_stride;
  float lo;
  float hi;
  PanelEpilogue epilogue;  // Or null.
  void* epilogue_context;
};

struct MatmulRow {
  const char* name;
  Isa isa;
  int32_t tile_rows;     // R: rows of W in a register tile.
  int32_t tile_vectors;  // V: vectors of columns in a register tile.
  int32_t panel_lanes;
  // Computes rows [tile_begin * R, tile_end * R) of panels [panel_begin, panel_end).
  void (*run)(const MatmulParams&, int64_t panel_begin, int64_t panel_end, int64_t tile_begin,
              int64_t tile_end);
};

std::span<const MatmulRow> matmul_rows();
// The best row for this shape that `isa` can run. Never fails.
const MatmulRow& choose_matmul(Isa isa, int64_t m, int64_t k, int64_t l);

// Packed form: [ceil(m / R)][k][R], the last group holding m % R rows ([k][m % R]), so that it
// takes exactly m * k floats. `w` element (i, j) is at i * stride_m + j * stride_k.
void pack_matmul_weights(const float* w, int64_t stride_m, int64_t stride_k, int64_t m, int64_t k,
                         int32_t tile_rows, float* packed);
void unpack_matmul_weights(const float* packed, int64_t m, int64_t k, int32_t tile_rows, float* w,
                           int64_t stride_m, int64_t stride_k);

struct RowsMatmulParams {
  int64_t l;
  int64_t m;
  int64_t k;
  const float* x;
  int64_t x_stride;   // Floats between rows of x.
  const float* w;     // Packed by pack_rows_weights for the same tile_lanes.
  const float* bias;  // [m], or null.
  float* y;
  int64_t y_stride;
  float lo;
  float hi;
};

struct RowsMatmulRow {
  const char* name;
  Isa isa;
  int32_t tile_rows;   // Rows of x in a register tile.
  int32_t tile_lanes;  // Output features in a tile.
  // Computes rows [row_begin, row_end) x features [tile_begin * tile_lanes, tile_end * tile_lanes).
  void (*run)(const RowsMatmulParams&, int64_t row_begin, int64_t row_end, int64_t tile_begin,
              int64_t tile_end);
};

std::span<const RowsMatmulRow> rows_matmul_rows();
const RowsMatmulRow& choose_rows_matmul(Isa isa, int64_t l, int64_t m, int64_t k);

// Packed form: [ceil(m / tile_lanes)][k][tile_lanes], zero filled: rows_packed_floats() floats.
int64_t rows_packed_floats(int64_t m, int64_t k, int32_t tile_lanes);
void pack_rows_weights(const float* w, int64_t stride_m, int64_t stride_k, int64_t m, int64_t k,
                       int32_t tile_lanes, float* packed);
void unpack_rows_weights(const float* packed, int64_t m, int64_t k, int32_t tile_lanes, float* w,
                         int64_t stride_m, int64_t stride_k);

// One product of two activations; the caller loops over the batch. Any strides (in floats) are
// accepted for a and b, so a transpose costs nothing; c is row-major with unit column stride.
struct GeneralMatmulParams {
  int64_t m;
  int64_t n;
  int64_t k;
  const float* a;
  int64_t a_stride_m;
  int64_t a_stride_k;
  const float* b;
  int64_t b_stride_k;
  int64_t b_stride_n;
  float* c;
  int64_t c_stride_m;
  float scale;
};

// B is packed in blocks of at most this many rows: 128 KB at 64 lanes.
inline constexpr int64_t kGeneralDepthBlock = 512;

struct GeneralMatmulRow {
  const char* name;
  Isa isa;
  int32_t tile_rows;
  int32_t tile_lanes;
  // Computes rows [row_begin, row_end) of c. `scratch`: general_scratch_floats(row, n, k) floats,
  // 64-byte aligned, private to the thread.
  void (*run)(const GeneralMatmulParams&, int64_t row_begin, int64_t row_end, float* scratch);
};

std::span<const GeneralMatmulRow> general_matmul_rows();
const GeneralMatmulRow& choose_general_matmul(Isa isa, int64_t m, int64_t n, int64_t k);
int64_t general_scratch_floats(const GeneralMatmulRow& row, int64_t n, int64_t k);

}  // namespace colonnade::kernels

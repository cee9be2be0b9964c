// Reductions over one axis, and what is built on them: softmax, normalisation, arg-max.
//
// A tensor is seen as [outer][n][inner], inner contiguous, and `n` is the axis that is reduced:
//
//   rows           inner = 1:     outer rows of n contiguous elements
//   a middle axis  inner > 1:     e.g. the channels of NCHW
//   column panels  inner = lanes: outer panels of n features; reducing over features
//
//   element(o, i, c) = data[o * outer_stride + i * inner + c]
//
// outer_stride is n * inner for a dense tensor and more for a band of features of a wider one;
// every tensor of a call has its own. Lanes of a panel past its last column may hold anything; they
// stay private to themselves.
//
// Sums are pairwise over blocks: |error| <= (20 + log2(n)) * 2^-24 * sum |terms|. NaN propagates,
// also through max and min. Over no elements: sum 0, product 1, max -Inf, min +Inf, mean NaN.
//
// Results may replace their input (same data, same strides); any other overlap is an error. No
// alignment is required. Kernels are pure: no allocation, no threads, no globals; any split of the
// units gives the same bits.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"

namespace colonnade::kernels {

struct ReduceShape {
  int64_t outer;
  int64_t n;
  int64_t inner;
};

inline constexpr int64_t kReduceStrip = 64;

// Work is dealt in units: outer x strips of kReduceStrip inner columns.
int64_t reduce_units(const ReduceShape& shape);

enum class ReduceKind : int32_t {
  sum,
  mean,
  max,
  min,
  prod,
  l1,           // sum |x|
  l2,           // sqrt(sum x^2)
  sum_square,   // sum x^2
  log_sum,      // log(sum x)
  log_sum_exp,  // log(sum exp(x)), without overflow
};

// y[o * inner + c] = reduction of x(o, :, c).
struct ReduceParams {
  ReduceShape shape;
  ReduceKind kind;
  const float* x;
  int64_t x_stride;
  float* y;
};

// y[o * inner + c] = the first (or last) i where x(o, i, c) is greatest (or least); NaN counts as
// greater and less than everything, as in numpy. n >= 1, n < 2^31.
struct ArgParams {
  ReduceShape shape;
  bool is_min;
  bool select_last;
  const float* x;
  int64_t x_stride;
  int64_t* y;
};

// y = exp(x - max) / sum exp(x - max), or x - max - log(sum exp(x - max)).
struct SoftmaxParams {
  ReduceShape shape;
  bool log;
  const float* x;
  int64_t x_stride;
  float* y;
  int64_t y_stride;
};

enum class NormKind : int32_t {
  layer,  // y = (s - mean) / sqrt(mean((s - mean)^2) + epsilon) * scale + bias
  rms,    // y = s / sqrt(mean(s^2) + epsilon) * scale + bias
};

// Over s = x + residual, along n. `sum` receives s.
struct NormParams {
  ReduceShape shape;
  NormKind kind;
  float epsilon;
  const float* x;
  int64_t x_stride;
  const float* residual;  // Or null.
  int64_t residual_stride;
  const float* scale;  // [n], or null for 1.
  const float* bias;   // [n], or null for 0.
  float* y;
  int64_t y_stride;
  float* sum;  // Or null.
  int64_t sum_stride;
};

// Group normalisation: mean and variance over a group of channels and all positions of a sample;
// y = (x - mean) / sqrt(variance + epsilon) * scale[channel] + bias[channel]. Instance
// normalisation has one channel per group.
//
//   lanes = 0: rows, [samples][channels][positions], dense
//   lanes > 0: column panels of `lanes` lanes, column = sample * positions + position
//
// A unit is one group of one sample: samples * groups of them.
struct GroupNormParams {
  int64_t samples;
  int64_t channels;  // A multiple of groups.
  int64_t positions;
  int64_t groups;
  float epsilon;
  int64_t lanes;
  const float* x;
  int64_t x_panel_stride;  // Panels only: channels * lanes when dense.
  float* y;
  int64_t y_panel_stride;
  const float* scale;  // [channels]
  const float* bias;   // [channels]
};

struct ReduceRow {
  const char* name;
  Isa isa;
  int32_t lanes;
  // All compute units [begin, end).
  void (*reduce)(const ReduceParams&, int64_t begin, int64_t end);
  void (*arg)(const ArgParams&, int64_t begin, int64_t end);
  void (*softmax)(const SoftmaxParams&, int64_t begin, int64_t end);
  void (*norm)(const NormParams&, int64_t begin, int64_t end);
  void (*group_norm)(const GroupNormParams&, int64_t begin, int64_t end);
};

std::span<const ReduceRow> reduce_rows();
// The best row that `isa` can run. Never fails.
const ReduceRow& choose_reduce(Isa isa);

}  // namespace colonnade::kernels

// Max and average pooling on column panels, windowed and over whole samples.
//
// Columns as in conv.h: l = (n * h + i) * w + j. A window's positions outside the image are skipped
// by max; average divides by the positions inside the image, or with `count_padding` by those
// inside the padded image (its extent is pad_top + in_h + pad_bottom). Max gives NaN for any NaN in
// the window.
//
// pool_window: unit = one channel of one image; the padded channel is unpacked into scratch,
// pooled, and scattered into the output's panels. pool_panels does the same for the rows that a
// range of output panels needs. pool_global: y[n, f] = mean, max or sum over the `inner` columns of
// sample n, y row-major [batch][features]. A unit is one (n, f). Sums run in one fixed order.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"

namespace colonnade::kernels {

enum class PoolKind : int64_t { max = 0, mean = 1, sum = 2 };

struct PoolParams {
  PoolKind kind;
  bool count_padding;
  int64_t batch;
  int64_t channels;
  int64_t in_h;
  int64_t in_w;
  int64_t out_h;
  int64_t out_w;
  int64_t kernel_h;
  int64_t kernel_w;
  int64_t stride_h;
  int64_t stride_w;
  int64_t dilation_h;
  int64_t dilation_w;
  int64_t pad_top;
  int64_t pad_left;
  int64_t pad_bottom;
  int64_t pad_right;
  const float* x;
  float* y;
};

struct GlobalPoolParams {
  PoolKind kind;
  int64_t batch;
  int64_t features;
  int64_t inner;
  const float* x;
  float* y;
};

struct PoolRow {
  const char* name;
  Isa isa;
  int32_t panel_lanes;
  // Computes units [begin, end) of batch * channels. `scratch`: pool_scratch_floats(), private.
  void (*window)(const PoolParams&, int64_t begin, int64_t end, float* scratch);
  // Computes output panels [begin, end) of all channels; reads the rows of their windows only.
  void (*panels)(const PoolParams&, int64_t begin, int64_t end, float* scratch);
  void (*global)(const GlobalPoolParams&, int64_t begin, int64_t end);
};

std::span<const PoolRow> pool_rows();
const PoolRow& choose_pool(Isa isa);
// Height and width of the scratch image that holds every position a window touches.
int64_t pool_image_h(const PoolParams& params);
int64_t pool_image_w(const PoolParams& params);
int64_t pool_scratch_floats(const PoolParams& params);

}  // namespace colonnade::kernels

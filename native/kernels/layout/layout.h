// Moving tensors between their row-major form and column panels.
//
// A tensor is seen as [outer][features][inner] with inner contiguous (NCHW: outer = N, inner = H*W;
// features-last [L, F]: outer = L, inner = 1). Its columns are l = n * inner + s, so the panel
// element of (n, f, s) is
//
//     panels[(l / lanes) * panel_stride + f * lanes + l % lanes],   lanes = panel_lanes(isa).
//
// Panel buffers are whole panels: ceil(columns / lanes) * panel_stride floats. Lanes past the last
// column may hold anything; to_panels writes them as zero, from_panels never reads them into a
// column. The two buffers must not overlap. No alignment is required; 64 bytes is fastest.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"

namespace colonnade::kernels {

// Columns in one panel: 64 for AVX-512 and above, 16 below.
int64_t panel_lanes(Isa isa);

struct LayoutParams {
  int64_t outer;
  int64_t features;
  int64_t inner;
  int64_t panel_stride;  // Floats from one panel to the next; features * lanes when dense.
};

struct LayoutRow {
  const char* name;
  Isa isa;
  int64_t panel_lanes;
  void (*to_panels)(const LayoutParams&, const float* rows, float* panels, int64_t panel_begin,
                    int64_t panel_end);
  void (*from_panels)(const LayoutParams&, const float* panels, float* rows, int64_t panel_begin,
                      int64_t panel_end);
};

std::span<const LayoutRow> layout_rows();
// The best row that `isa` can run.
const LayoutRow& choose_layout(Isa isa);

}  // namespace colonnade::kernels

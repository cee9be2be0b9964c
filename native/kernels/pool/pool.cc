#include "kernels/pool/pool.h"

#include <algorithm>

namespace colonnade {

#define POOL_ROW(name, space, isa, lanes)                                                     \
  namespace space {                                                                           \
  void name##_window(const kernels::PoolParams&, int64_t begin, int64_t end, float* scratch); \
  void name##_panels(const kernels::PoolParams&, int64_t begin, int64_t end, float* scratch); \
  void name##_global(const kernels::GlobalPoolParams&, int64_t begin, int64_t end);           \
  }
#include "kernels/pool/kernels.inc"
#undef POOL_ROW

namespace kernels {
namespace {

constexpr PoolRow kRows[] = {
#define POOL_ROW(name, space, isa, lanes) \
  {#name, Isa::isa, lanes, &space::name##_window, &space::name##_panels, &space::name##_global},
#include "kernels/pool/kernels.inc"
#undef POOL_ROW
};

}  // namespace

std::span<const PoolRow> pool_rows() { return kRows; }

const PoolRow& choose_pool(Isa isa) {
  const PoolRow* best = &kRows[0];
  for (const PoolRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

int64_t pool_image_h(const PoolParams& p) {
  return std::max(p.pad_top + p.in_h,
                  (p.out_h - 1) * p.stride_h + (p.kernel_h - 1) * p.dilation_h + 1);
}

int64_t pool_image_w(const PoolParams& p) {
  return std::max(p.pad_left + p.in_w,
                  (p.out_w - 1) * p.stride_w + (p.kernel_w - 1) * p.dilation_w + 1);
}

int64_t pool_scratch_floats(const PoolParams& p) {
  // The image, a combined row and an output row, with slack for whole vectors behind each: strided
  // loads reach stride_w vectors on.
  constexpr int64_t kLanesMax = 64;
  return (pool_image_h(p) + 1) * pool_image_w(p) + p.out_w + (p.stride_w + 5) * kLanesMax;
}

}  // namespace kernels
}  // namespace colonnade

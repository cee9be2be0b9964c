#include "simd/x86_avx2.h"

#include "kernels/pool/pool.h"

namespace colonnade::avx2 {
namespace {

#include "kernels/pool/pool_impl.inc"

}  // namespace

void pool_f32_16_avx2_window(const kernels::PoolParams& params, int64_t begin, int64_t end,
                             float* scratch) {
  run_window(params, begin, end, scratch);
}

void pool_f32_16_avx2_panels(const kernels::PoolParams& p, int64_t begin, int64_t end,
                             float* scratch) {
  run_panels(p, begin, end, scratch);
}

void pool_f32_16_avx2_global(const kernels::GlobalPoolParams& params, int64_t begin, int64_t end) {
  run_global(params, begin, end);
}

}  // namespace colonnade::avx2

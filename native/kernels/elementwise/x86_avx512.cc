#include "simd/x86_avx512.h"

#include "kernels/elementwise/elementwise.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/elementwise/elementwise_impl.inc"

}  // namespace

void elementwise_f32_16_avx512(const kernels::ElementwiseParams& params, int64_t begin, int64_t end,
                               float* scratch) {
  run_elementwise(params, begin, end, scratch);
}

}  // namespace colonnade::avx512

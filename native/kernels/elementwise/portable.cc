#include "simd/portable.h"

#include "kernels/elementwise/elementwise.h"

namespace colonnade::portable {
namespace {

#include "kernels/elementwise/elementwise_impl.inc"

}  // namespace

void elementwise_f32_4_portable(const kernels::ElementwiseParams& params, int64_t begin,
                                int64_t end, float* scratch) {
  run_elementwise(params, begin, end, scratch);
}

}  // namespace colonnade::portable

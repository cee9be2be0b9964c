#include "simd/x86_avx2.h"

#include "kernels/quantize/quantize.h"

namespace colonnade::avx2 {
namespace {

#include "kernels/quantize/quantize_impl.inc"

}  // namespace

void quantize_f32_avx2_quantize(const kernels::QuantizeRun& run, DType type) {
  run_quantize(run, type);
}

void quantize_f32_avx2_dequantize(const kernels::QuantizeRun& run, DType type) {
  run_dequantize(run, type);
}

void quantize_f32_avx2_range(const float* x, int64_t count, float& low, float& high) {
  run_range(x, count, low, high);
}

}  // namespace colonnade::avx2

#include "simd/x86_avx512.h"

#include "kernels/quantize/quantize.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/quantize/quantize_impl.inc"

}  // namespace

void quantize_f32_avx512_quantize(const kernels::QuantizeRun& run, DType type) {
  run_quantize(run, type);
}

void quantize_f32_avx512_dequantize(const kernels::QuantizeRun& run, DType type) {
  run_dequantize(run, type);
}

void quantize_f32_avx512_range(const float* x, int64_t count, float& low, float& high) {
  run_range(x, count, low, high);
}

}  // namespace colonnade::avx512

#include "simd/x86_avx512.h"

namespace colonnade::avx512 {
#include "math_evaluate.inc"
}  // namespace colonnade::avx512

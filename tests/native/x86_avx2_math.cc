#include "simd/x86_avx2.h"

namespace colonnade::avx2 {
#include "math_evaluate.inc"
}  // namespace colonnade::avx2

#include "simd/portable.h"

namespace colonnade::portable {
#include "math_evaluate.inc"
}  // namespace colonnade::portable

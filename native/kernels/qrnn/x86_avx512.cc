#include "simd/x86_avx512.h"

#include "kernels/qrnn/qrnn.h"

namespace colonnade::avx512 {
namespace {

#define COLONNADE_INTRINSIC(op) _mm512_##op
#include "kernels/qmatmul/dot_split.inc"

constexpr int kByteItems = 4;

inline DotX read_state(const uint8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return as_bytes(set1_int(four));
}

#include "kernels/qrnn/bytes_avx512.inc"
// Uses all of them.
#include "kernels/qrnn/qrnn_impl.inc"

}  // namespace

#define COLONNADE_ROW qrnn_16_avx512
#include "kernels/qrnn/entry.inc"

}  // namespace colonnade::avx512

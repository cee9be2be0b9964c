#include "kernels/qrnn/qrnn.h"
#include "simd/x86_avx512.h"

namespace colonnade::avx512_vnni {
namespace {

using namespace avx512;

#include "kernels/qmatmul/dot_vnni.inc"

constexpr int kByteItems = 6;

inline DotX read_state(const uint8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return set1_int(four);
}

#include "kernels/qrnn/bytes_avx512.inc"
// Uses all of them.
#include "kernels/qrnn/qrnn_impl.inc"

}  // namespace

#define COLONNADE_ROW qrnn_16_avx512_vnni
#include "kernels/qrnn/entry.inc"

}  // namespace colonnade::avx512_vnni

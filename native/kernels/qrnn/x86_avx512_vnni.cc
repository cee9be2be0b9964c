#include "kernels/qrnn/qrnn.h"
#include "simd/x86_avx512.h"

namespace colonnade::avx512_vnni {
namespace {

using namespace avx512;

#include "kernels/qmatmul/dot_vnni.inc"

constexpr int kByteItems = 6;

struct AnyDot {
  using X = DotX;
  using W = DotW;
  static constexpr int32_t kShift = 0;

  static X read(const uint8_t* x, int64_t) {
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    return set1_int(four);
  }
  static W weights(IntVec lanes) { return lanes; }
  static IntVec dot(X x, W w, IntVec acc) { return avx512_vnni::dot(x, w, acc); }
};
using BoundDot = AnyDot;

#include "kernels/qrnn/bytes_avx512.inc"
// Uses all of them.
#include "kernels/qrnn/qrnn_impl.inc"

}  // namespace

#define COLONNADE_ROW qrnn_16_avx512_vnni
#include "kernels/qrnn/entry.inc"

}  // namespace colonnade::avx512_vnni

#include "simd/x86_avx512.h"

#include "kernels/qrnn/qrnn.h"

namespace colonnade::avx512 {
namespace {

#define COLONNADE_INTRINSIC(op) _mm512_##op

#include "kernels/qrnn/dot_halves.inc"

constexpr int kByteItems = 4;

using AnyDot = Halves<0>;
using BoundDot = AnyDot;

#include "kernels/qrnn/bytes_avx512.inc"
// Uses all of them.
#include "kernels/qrnn/qrnn_impl.inc"

}  // namespace

#define COLONNADE_ROW qrnn_16_avx512
#include "kernels/qrnn/entry.inc"

}  // namespace colonnade::avx512

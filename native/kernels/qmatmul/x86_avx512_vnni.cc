#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"
#include "simd/x86_avx512.h"

namespace colonnade::avx512_vnni {
namespace {

using namespace avx512;

#include "kernels/qmatmul/dot_vnni.inc"
#include "kernels/qmatmul/lanes_avx512.inc"
// Its dot products come first.
#include "kernels/qmatmul/depthwise_fours.inc"
#include "kernels/qmatmul/depthwise_x86.inc"
// Packing comes before products.
#include "kernels/conv/pack_pieces_avx512.inc"
// Extend it.
#include "kernels/conv/pack_lines_avx512.inc"
#include "kernels/conv/plan_shift.inc"
// After the dot products.
#include "kernels/qmatmul/band_vectors.inc"
// Uses all of them.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_4x64_avx512_vnni
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::avx512_vnni

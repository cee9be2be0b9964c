#include "simd/x86_avx512.h"

#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/qmatmul/lanes_avx512.inc"
// By its intrinsics.
#include "kernels/qmatmul/depthwise_pairs.inc"
#include "kernels/qmatmul/depthwise_x86.inc"
#include "kernels/qmatmul/dot_pairs.inc"
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

#define COLONNADE_ROW byte_matmul_4x64_avx512
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::avx512

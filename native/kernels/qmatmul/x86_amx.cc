#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"
#include "kernels/qmatmul/tile_config.h"
#include "simd/x86_avx512.h"

namespace colonnade::amx {
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
// What x86_avx512_vnni.cc lacks.
#include "kernels/qmatmul/tiles_amx.inc"
// Its tiles come first.
#include "kernels/qmatmul/band_blocks.inc"
// Uses all of them.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_16x64_amx
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::amx

#include "simd/x86_avx2.h"

#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::avx2 {
namespace {

#define COLONNADE_DOT(op) _mm256_##op
#include "kernels/qmatmul/dot_split.inc"
// Its packing and dot products come first.
#include "kernels/conv/pack_runs.inc"
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_4x16_avx2
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::avx2

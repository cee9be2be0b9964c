#include "simd/portable.h"

#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"

namespace colonnade::portable {
namespace {

#include "kernels/conv/pack_runs.inc"
#include "kernels/qmatmul/dot_portable.inc"
// Its dot products come first.
#include "kernels/qmatmul/band_vectors.inc"
// Uses all of them.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_4x16_portable
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::portable

// The source of x86_amx.cc on tiles in plain C++, so that tests on any machine run it.
#include "kernels/conv/blocks.h"
#include "kernels/qmatmul/qmatmul.h"
#include "kernels/qmatmul/tile_config.h"
#include "simd/portable.h"

namespace colonnade::amx_emulated {
namespace {

using namespace portable;

// Of AMX machines.
constexpr int kPanel = 64;

#include "kernels/conv/pack_runs.inc"
#include "kernels/qmatmul/dot_portable.inc"
#include "kernels/qmatmul/tiles_emulated.inc"
// Its tiles come first.
#include "kernels/qmatmul/band_blocks.inc"
// Uses all of them.
#include "kernels/qmatmul/products.inc"

}  // namespace

#define COLONNADE_ROW byte_matmul_16x64_amx_emulated
#include "kernels/qmatmul/entry.inc"

}  // namespace colonnade::amx_emulated

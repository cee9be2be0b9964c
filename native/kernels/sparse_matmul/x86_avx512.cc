#include "simd/x86_avx512.h"

#include "kernels/conv/blocks.h"
#include "kernels/sparse_matmul/blocks.h"
#include "kernels/sparse_matmul/sparse_matmul.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/conv/pack_pieces_avx512.inc"
// Extend it.
#include "kernels/conv/pack_lines_avx512.inc"
#include "kernels/conv/plan_shift.inc"
// Packing comes first.
#include "kernels/conv/pack_channels.inc"
#include "kernels/sparse_matmul/sparse_matmul_impl.inc"
// The convolution uses both.
#include "kernels/sparse_matmul/sparse_conv_impl.inc"

}  // namespace

void sparse_matmul_f32_4x64_avx512(const SparseMatmulParams& params, int64_t panel_begin,
                                   int64_t panel_end, int64_t tile_begin, int64_t tile_end) {
  run_sparse_matmul<4, 1>(params, panel_begin, panel_end, tile_begin, tile_end);
}

void sparse_conv_f32_4x64_avx512(const SparseConvParams& params, int64_t panel_begin,
                                 int64_t panel_end, int64_t tile_begin, int64_t tile_end,
                                 void* scratch) {
  run_sparse_conv<4, 1>(params, panel_begin, panel_end, tile_begin, tile_end, scratch);
}

}  // namespace colonnade::avx512

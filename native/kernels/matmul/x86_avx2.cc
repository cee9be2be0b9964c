#include "simd/x86_avx2.h"

#include "kernels/matmul/matmul.h"

namespace colonnade::avx2 {
namespace {

#include "kernels/layout/transpose_avx2.inc"
#include "kernels/matmul/columns.inc"
#include "kernels/matmul/rows.inc"

}  // namespace

void matmul_f32_6x16_avx2(const MatmulParams& params, int64_t panel_begin, int64_t panel_end,
                          int64_t tile_begin, int64_t tile_end) {
  run_matmul<6>(params, panel_begin, panel_end, tile_begin, tile_end);
}

void rows_matmul_f32_6x16_avx2(const RowsMatmulParams& params, int64_t row_begin, int64_t row_end,
                               int64_t tile_begin, int64_t tile_end) {
  run_rows_matmul<6>(params, row_begin, row_end, tile_begin, tile_end);
}

void general_matmul_f32_6x16_avx2(const GeneralMatmulParams& params, int64_t row_begin,
                                  int64_t row_end, float* scratch) {
  run_general_matmul<6>(params, row_begin, row_end, scratch);
}

}  // namespace colonnade::avx2

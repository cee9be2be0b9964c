#include "simd/portable.h"

#include "kernels/matmul/matmul.h"

namespace colonnade::portable {
namespace {

#include "kernels/layout/transpose_portable.inc"
#include "kernels/matmul/columns.inc"
#include "kernels/matmul/rows.inc"

}  // namespace

void matmul_f32_2x16_portable(const MatmulParams& params, int64_t panel_begin, int64_t panel_end,
                              int64_t tile_begin, int64_t tile_end) {
  run_matmul<2>(params, panel_begin, panel_end, tile_begin, tile_end);
}

void rows_matmul_f32_2x16_portable(const RowsMatmulParams& params, int64_t row_begin,
                                   int64_t row_end, int64_t tile_begin, int64_t tile_end) {
  run_rows_matmul<2>(params, row_begin, row_end, tile_begin, tile_end);
}

void general_matmul_f32_2x16_portable(const GeneralMatmulParams& params, int64_t row_begin,
                                      int64_t row_end, float* scratch) {
  run_general_matmul<2>(params, row_begin, row_end, scratch);
}

}  // namespace colonnade::portable

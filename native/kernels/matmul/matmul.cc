#include "kernels/matmul/matmul.h"

#include <algorithm>

namespace colonnade {

#define MATMUL_ROW(name, space, isa, rows, vectors, lanes)                        \
  namespace space {                                                               \
  void name(const kernels::MatmulParams&, int64_t panel_begin, int64_t panel_end, \
            int64_t tile_begin, int64_t tile_end);                                \
  }
#define ROWS_MATMUL_ROW(name, space, isa, rows, lanes)                            \
  namespace space {                                                               \
  void name(const kernels::RowsMatmulParams&, int64_t row_begin, int64_t row_end, \
            int64_t tile_begin, int64_t tile_end);                                \
  }
#define GENERAL_MATMUL_ROW(name, space, isa, rows, lanes)                            \
  namespace space {                                                                  \
  void name(const kernels::GeneralMatmulParams&, int64_t row_begin, int64_t row_end, \
            float* scratch);                                                         \
  }
#include "kernels/matmul/kernels.inc"
#undef MATMUL_ROW
#undef ROWS_MATMUL_ROW
#undef GENERAL_MATMUL_ROW

namespace kernels {
namespace {

constexpr MatmulRow kColumnsRows[] = {
#define MATMUL_ROW(name, space, isa, rows, vectors, lanes) \
  {#name, Isa::isa, rows, vectors, lanes, &space::name},
#include "kernels/matmul/kernels.inc"
#undef MATMUL_ROW
};

constexpr RowsMatmulRow kRowsRows[] = {
#define ROWS_MATMUL_ROW(name, space, isa, rows, lanes) {#name, Isa::isa, rows, lanes, &space::name},
#include "kernels/matmul/kernels.inc"
#undef ROWS_MATMUL_ROW
};

constexpr GeneralMatmulRow kGeneralRows[] = {
#define GENERAL_MATMUL_ROW(name, space, isa, rows, lanes) \
  {#name, Isa::isa, rows, lanes, &space::name},
#include "kernels/matmul/kernels.inc"
#undef GENERAL_MATMUL_ROW
};

// Rows are listed from the lowest ISA to the highest.
template <typename Row>
const Row& last_that_runs(std::span<const Row> rows, Isa isa) {
  const Row* best = &rows[0];
  for (const Row& row : rows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

}  // namespace

std::span<const MatmulRow> matmul_rows() { return kColumnsRows; }
std::span<const RowsMatmulRow> rows_matmul_rows() { return kRowsRows; }
std::span<const GeneralMatmulRow> general_matmul_rows() { return kGeneralRows; }

const MatmulRow& choose_matmul(Isa isa, int64_t, int64_t, int64_t) {
  return last_that_runs(matmul_rows(), isa);
}

const RowsMatmulRow& choose_rows_matmul(Isa isa, int64_t, int64_t, int64_t) {
  return last_that_runs(rows_matmul_rows(), isa);
}

const GeneralMatmulRow& choose_general_matmul(Isa isa, int64_t, int64_t, int64_t) {
  return last_that_runs(general_matmul_rows(), isa);
}

int64_t general_scratch_floats(const GeneralMatmulRow& row, int64_t, int64_t k) {
  return std::min(k, kGeneralDepthBlock) * row.tile_lanes;
}

}  // namespace kernels
}  // namespace colonnade

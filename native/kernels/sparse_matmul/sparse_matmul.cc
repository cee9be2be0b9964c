#include "kernels/sparse_matmul/sparse_matmul.h"

#include "kernels/sparse_matmul/blocks.h"

namespace colonnade {

#define SPARSE_MATMUL_ROW(name, space, isa, rows, lanes)                                \
  namespace space {                                                                     \
  void name(const kernels::SparseMatmulParams&, int64_t panel_begin, int64_t panel_end, \
            int64_t tile_begin, int64_t tile_end);                                      \
  }
#define SPARSE_CONV_ROW(name, space, isa, rows, lanes)                                \
  namespace space {                                                                   \
  void name(const kernels::SparseConvParams&, int64_t panel_begin, int64_t panel_end, \
            int64_t tile_begin, int64_t tile_end, void* scratch);                     \
  }
#include "kernels/sparse_matmul/kernels.inc"
#undef SPARSE_MATMUL_ROW
#undef SPARSE_CONV_ROW

namespace kernels {
namespace {

constexpr SparseMatmulRow kMatmulRows[] = {
#define SPARSE_MATMUL_ROW(name, space, isa, rows, lanes) \
  {#name, Isa::isa, rows, lanes, &space::name},
#include "kernels/sparse_matmul/kernels.inc"
#undef SPARSE_MATMUL_ROW
};

constexpr SparseConvRow kConvRows[] = {
#define SPARSE_CONV_ROW(name, space, isa, rows, lanes) {#name, Isa::isa, rows, lanes, &space::name},
#include "kernels/sparse_matmul/kernels.inc"
#undef SPARSE_CONV_ROW
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

std::span<const SparseMatmulRow> sparse_matmul_rows() { return kMatmulRows; }
std::span<const SparseConvRow> sparse_conv_rows() { return kConvRows; }

const SparseMatmulRow& choose_sparse_matmul(Isa isa) {
  return last_that_runs(sparse_matmul_rows(), isa);
}

const SparseConvRow& choose_sparse_conv(Isa isa) { return last_that_runs(sparse_conv_rows(), isa); }

int64_t sparse_k_block_max(int64_t panel_lanes) {
  return (int64_t{UINT16_MAX} + 1) / (panel_lanes * 4);
}

int64_t sparse_conv_scratch_bytes(const SparseConvRow& row, const SparseConvParams& p) {
  const ConvShape& s = p.conv.shape;
  const int64_t packed = p.geometry.k_block * row.panel_lanes * 4;
  const int64_t plan = sparse_plan_bytes(s.kernel_h * s.kernel_w, row.panel_lanes);
  return kSparsePanelsMax * (packed + plan);
}

}  // namespace kernels
}  // namespace colonnade

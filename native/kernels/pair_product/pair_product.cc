#include "kernels/pair_product/pair_product.h"

namespace colonnade {

#define PAIR_PRODUCT_ROW(name, space, isa, lanes)                                      \
  namespace space {                                                                    \
  void name##_matmul(const kernels::PairMatmulParams&, int64_t, int64_t, void*);       \
  void name##_attention(const kernels::PairAttentionParams&, int64_t, int64_t, void*); \
  }
#include "kernels/pair_product/kernels.inc"
#undef PAIR_PRODUCT_ROW

namespace kernels {
namespace {

constexpr PairProductRow kRows[] = {
#define PAIR_PRODUCT_ROW(name, space, isa, lanes) \
  {#name, Isa::isa, lanes, &space::name##_matmul, &space::name##_attention},
#include "kernels/pair_product/kernels.inc"
#undef PAIR_PRODUCT_ROW
};

int64_t round_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

}  // namespace

std::span<const PairProductRow> pair_product_rows() { return kRows; }

const PairProductRow& choose_pair_product(Isa isa) {
  const PairProductRow* best = &kRows[0];
  for (const PairProductRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

// Pairs of a panel of b and of a block of rows of a; a row of sums.
int64_t pair_matmul_scratch_bytes(int64_t k, int64_t lanes) {
  const int64_t pairs = (k + 1) / 2;
  return 4 * (pairs * lanes + kPairRowBlock * pairs + lanes);
}

int64_t pair_attention_units(const PairAttentionParams& p, int64_t lanes) {
  return p.batch * p.heads * ((p.queries + lanes - 1) / lanes);
}

// As Scratch of attention_impl.inc lays it out.
int64_t pair_attention_scratch_bytes(const PairAttentionParams& p, int64_t lanes) {
  const int64_t keys = round_up(p.keys, lanes), key_pairs = keys / 2;
  const int64_t columns = (p.depth / 2 + keys + key_pairs + p.value_depth + 2) * lanes;
  return 4 * (columns + keys * p.depth / 2 + key_pairs * p.value_depth);
}

}  // namespace kernels
}  // namespace colonnade

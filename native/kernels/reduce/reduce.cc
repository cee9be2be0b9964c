#include "kernels/reduce/reduce.h"

namespace colonnade {

#define REDUCE_ROW(name, space, isa, lanes)                                            \
  namespace space {                                                                    \
  void name##_reduce(const kernels::ReduceParams&, int64_t begin, int64_t end);        \
  void name##_arg(const kernels::ArgParams&, int64_t begin, int64_t end);              \
  void name##_softmax(const kernels::SoftmaxParams&, int64_t begin, int64_t end);      \
  void name##_norm(const kernels::NormParams&, int64_t begin, int64_t end);            \
  void name##_group_norm(const kernels::GroupNormParams&, int64_t begin, int64_t end); \
  }
#include "kernels/reduce/kernels.inc"
#undef REDUCE_ROW

namespace kernels {
namespace {

constexpr ReduceRow kRows[] = {
#define REDUCE_ROW(name, space, isa, lanes) \
  {#name,                                   \
   Isa::isa,                                \
   lanes,                                   \
   &space::name##_reduce,                   \
   &space::name##_arg,                      \
   &space::name##_softmax,                  \
   &space::name##_norm,                     \
   &space::name##_group_norm},
#include "kernels/reduce/kernels.inc"
#undef REDUCE_ROW
};

}  // namespace

int64_t reduce_units(const ReduceShape& shape) {
  return shape.outer * ((shape.inner + kReduceStrip - 1) / kReduceStrip);
}

std::span<const ReduceRow> reduce_rows() { return kRows; }

const ReduceRow& choose_reduce(Isa isa) {
  const ReduceRow* best = &kRows[0];
  for (const ReduceRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

}  // namespace kernels
}  // namespace colonnade

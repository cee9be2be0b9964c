#include "kernels/quantize/quantize.h"

namespace colonnade {

#define QUANTIZE_ROW(name, space, isa)                                       \
  namespace space {                                                          \
  void name##_quantize(const kernels::QuantizeRun&, DType type);             \
  void name##_dequantize(const kernels::QuantizeRun&, DType type);           \
  void name##_range(const float* x, int64_t count, float& low, float& high); \
  }
#include "kernels/quantize/kernels.inc"
#undef QUANTIZE_ROW

namespace kernels {
namespace {

constexpr QuantizeRow kRows[] = {
#define QUANTIZE_ROW(name, space, isa) \
  {#name, Isa::isa, &space::name##_quantize, &space::name##_dequantize, &space::name##_range},
#include "kernels/quantize/kernels.inc"
#undef QUANTIZE_ROW
};

}  // namespace

std::span<const QuantizeRow> quantize_rows() { return kRows; }

const QuantizeRow& choose_quantize(Isa isa) {
  const QuantizeRow* best = &kRows[0];
  for (const QuantizeRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

}  // namespace kernels
}  // namespace colonnade

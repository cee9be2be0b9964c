#include "kernels/bytes/bytes.h"

namespace colonnade {

#define BYTES_ROW(name, space, isa, lanes)                                           \
  namespace space {                                                                  \
  void name##_binary(const kernels::ByteBinaryParams&, int64_t, int64_t);            \
  void name##_lookup(const uint8_t*, const uint8_t*, uint8_t*, int64_t);             \
  void name##_pool(const kernels::BytePoolParams&, int64_t, int64_t, float*);        \
  void name##_pool_panels(const kernels::BytePoolParams&, int64_t, int64_t, float*); \
  void name##_mean(const kernels::ByteMeanParams&, int64_t, int64_t);                \
  }
#include "kernels/bytes/kernels.inc"
#undef BYTES_ROW

namespace kernels {
namespace {

constexpr BytesRow kRows[] = {
#define BYTES_ROW(name, space, isa, lanes) \
  {#name,                                  \
   Isa::isa,                               \
   lanes,                                  \
   &space::name##_binary,                  \
   &space::name##_lookup,                  \
   &space::name##_pool,                    \
   &space::name##_pool_panels,             \
   &space::name##_mean},
#include "kernels/bytes/kernels.inc"
#undef BYTES_ROW
};

}  // namespace

std::span<const BytesRow> bytes_rows() { return kRows; }

const BytesRow& choose_bytes(Isa isa) {
  const BytesRow* best = &kRows[0];
  for (const BytesRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

int64_t byte_pool_scratch_floats(const PoolParams& p) {
  // The image, a combined row of each half of the bytes, an output row, the positions of a row:
  // slack as in pool_scratch_floats.
  constexpr int64_t kLanesMax = 64;
  const int64_t row = pool_image_w(p) + (p.stride_w + 2) * kLanesMax;
  return pool_image_h(p) * pool_image_w(p) + 2 * row + 2 * (p.out_w + kLanesMax) + kLanesMax;
}

}  // namespace kernels
}  // namespace colonnade

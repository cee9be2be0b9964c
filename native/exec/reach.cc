#include "exec/reach.h"

#include <algorithm>

namespace colonnade::exec {
namespace {

// The input row, over all images, that lies `down` rows below the first tap of an output column's
// window; kept inside the image between row `low` and row in_h - 1 + low.
int64_t input_row(const Reach& r, int64_t column, int64_t down, int64_t low) {
  const int64_t row = column / r.out_w;
  const int64_t top = row % r.out_h * r.stride_h - r.pad_top + down;
  return row / r.out_h * r.in_h + std::clamp(top, low, r.in_h - 1 + low);
}

}  // namespace

int64_t first_read(const Reach& r, int64_t panel) {
  if (r.lanes == 0) return panel;
  const int64_t column = std::min(panel * r.lanes, r.out_columns - 1);
  return input_row(r, column, 0, 0) * r.in_w / r.lanes;
}

int64_t end_read(const Reach& r, int64_t end) {
  if (r.lanes == 0) return end;
  const int64_t column = std::clamp<int64_t>(end * r.lanes, 1, r.out_columns) - 1;
  return (input_row(r, column, r.span_h, 1) * r.in_w - 1) / r.lanes + 1;
}

}  // namespace colonnade::exec

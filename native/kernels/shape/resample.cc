#include "kernels/shape/resample.h"

#include <algorithm>

namespace colonnade::kernels {
namespace {

// scratch += weight * row.
void accumulate(const float* row, float weight, int64_t count, bool first, float* scratch) {
  if (first) {
    for (int64_t i = 0; i < count; ++i) scratch[i] = weight * row[i];
  } else {
    for (int64_t i = 0; i < count; ++i) scratch[i] += weight * row[i];
  }
}

// Blends the input rows that output row `row` needs into scratch; false when it lies outside.
bool blend_rows(const ResampleParams& p, const float* in, int64_t row, float* scratch) {
  const auto outer_axes = static_cast<size_t>(p.axes - 1);
  std::array<int64_t, kMaxRank> first{};  // Number of the first tap of each axis.
  int64_t combinations = 1;
  int64_t rest = row;
  for (size_t d = outer_axes; d-- > 0;) {
    const ResampleAxis& axis = p.axis[d];
    first[d] = (rest % axis.out_dim) * axis.taps;
    rest /= axis.out_dim;
    if (axis.indices[static_cast<size_t>(first[d])] == kOutside) return false;
    combinations *= axis.taps;
  }
  const int64_t length = p.in_row();
  bool is_first = true;
  for (int64_t c = 0; c < combinations; ++c) {
    float weight = 1.0f;
    int64_t in_row = rest;
    int64_t which = c;
    for (size_t d = 0; d < outer_axes; ++d) {
      const auto tap = static_cast<size_t>(first[d] + which % p.axis[d].taps);
      which /= p.axis[d].taps;
      weight *= p.axis[d].weights[tap];
      in_row = in_row * p.axis[d].in_dim + p.axis[d].indices[tap];
    }
    accumulate(in + in_row * length, weight, length, is_first, scratch);
    is_first = false;
  }
  return true;
}

// One row of the output from the blended input row.
void resample_row(const ResampleParams& p, const float* row, float* out) {
  const ResampleAxis& axis = p.axis[static_cast<size_t>(p.axes - 1)];
  const int64_t* index = axis.indices.data();
  const float* weight = axis.weights.data();
  for (int64_t o = 0; o < axis.out_dim; ++o, index += axis.taps, weight += axis.taps) {
    for (int64_t i = 0; i < p.inner; ++i, ++out) {
      if (index[0] == kOutside) {
        *out = p.outside_value;
        continue;
      }
      float sum = weight[0] * row[index[0] * p.inner + i];
      for (int64_t k = 1; k < axis.taps; ++k) sum += weight[k] * row[index[k] * p.inner + i];
      *out = sum;
    }
  }
}

}  // namespace

void resample(const ResampleParams& params, const float* in, float* out, float* scratch,
              int64_t begin, int64_t end) {
  const int64_t length = params.out_row();
  for (int64_t row = begin; row < end; ++row) {
    float* to = out + row * length;
    if (blend_rows(params, in, row, scratch)) {
      resample_row(params, scratch, to);
    } else {
      std::fill_n(to, length, params.outside_value);
    }
  }
}

}  // namespace colonnade::kernels

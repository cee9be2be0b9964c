// Separable resampling of float tensors: linear and cubic resize in any number of axes.
//
// in [outer, a_1, .., a_m, inner] -> out [outer, b_1, .., b_m, inner]. Position o of axis d is
// sum over k < taps[d] of weights[d][o * taps + k] * in[.., indices[d][o * taps + k], ..].
// An index kOutside at the first tap makes the element `outside_value`.
// |error| <= (sum of taps + 2) * 2^-24 * max|in| * product over axes of sum|weights|.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/index_space.h"

namespace colonnade::kernels {

inline constexpr int32_t kOutside = -1;

struct ResampleAxis {
  int64_t in_dim;
  int64_t out_dim;
  int64_t taps;
  std::vector<int32_t> indices;  // [out_dim * taps]
  std::vector<float> weights;    // [out_dim * taps]
};

struct ResampleParams {
  int64_t outer = 1;
  int64_t inner = 1;
  int axes = 1;  // m >= 1
  std::array<ResampleAxis, kMaxRank> axis;
  float outside_value = 0.0f;
  int64_t rows = 0;          // outer * b_1 * .. * b_(m-1)
  int64_t combinations = 1;  // Input rows that make an output row: taps_1 * .. * taps_(m-1).

  const ResampleAxis& last() const { return axis[static_cast<size_t>(axes - 1)]; }
  int64_t in_row() const { return last().in_dim * inner; }
  int64_t out_row() const { return last().out_dim * inner; }
};

// Input rows that are kept resampled along the last axis, for the output rows that follow.
inline constexpr int64_t kMaxKeptRows = 16;

// Scratch of a thread.
int64_t resample_scratch_floats(const ResampleParams& params);

// Makes the rows [begin, end). Neighbouring rows share work: ask for many at once.
void resample(const ResampleParams& params, const float* in, float* out, float* scratch,
              int64_t begin, int64_t end);

}  // namespace colonnade::kernels

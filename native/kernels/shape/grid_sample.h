// Sampling of images at positions that are computed at run time (GridSample), fp32.
//
// in [batch, channels, dims..], grid [batch, points, axes] with coordinates in [-1, 1], the last
// axis first; out [batch, channels, points]. -1 and 1 are the centres of the outer pixels when
// corners are aligned, else their outer edges. A NaN coordinate counts as far below every pixel.
// |error| <= (taps + 4 axes) * 2^-24 * size * max|in|, the size of an axis for its coordinate.
#pragma once

#include <array>
#include <cstdint>

namespace colonnade::kernels {

enum class SampleMode : int32_t { nearest = 0, linear = 1, cubic = 2 };  // nearest: ties to even
enum class SamplePadding : int32_t { zeros = 0, border = 1, reflection = 2 };

inline constexpr int kMaxSampleAxes = 3;

struct GridSampleParams {
  int64_t batch;
  int64_t channels;
  int axes;  // 1, 2 or 3; cubic: 1 or 2.
  std::array<int64_t, kMaxSampleAxes> dims;
  int64_t points;
  SampleMode mode;
  SamplePadding padding;
  bool is_aligned;
};

// Makes the points [begin, end) of batch * points, all channels.
void grid_sample(const GridSampleParams& params, const float* in, const float* grid, float* out,
                 int64_t begin, int64_t end);

}  // namespace colonnade::kernels

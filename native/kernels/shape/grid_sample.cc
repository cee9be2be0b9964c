#include "kernels/shape/grid_sample.h"

#include <algorithm>
#include <cmath>

namespace colonnade::kernels {
namespace {

constexpr int kMaxTaps = 4;
constexpr float kCubic = -0.75f;  // Keys' parameter, as everybody has it.
constexpr float kFar = 1.0e9f;    // Coordinates past it differ in nothing.

// What one point reads along one axis. An index of -1 reads a zero.
struct Taps {
  int count;
  std::array<int64_t, kMaxTaps> index;
  std::array<float, kMaxTaps> weight;
};

// Folds x back at both borders until it lies between them.
double reflect(double x, double low, double high) {
  const double range = high - low;
  if (range <= 0.0) return low;
  double past = x < low ? low - x : x - high;
  if (past <= 0.0) return x;
  const double folds = std::floor(past / range);
  past -= folds * range;
  const bool is_from_low = (x < low) == (std::fmod(folds, 2.0) == 0.0);
  return is_from_low ? low + past : high - past;
}

int64_t pad_index(const GridSampleParams& p, int64_t index, int64_t dim) {
  switch (p.padding) {
    case SamplePadding::zeros:
      return index >= 0 && index < dim ? index : -1;
    case SamplePadding::border:
      return std::clamp(index, int64_t{0}, dim - 1);
    case SamplePadding::reflection:
      break;
  }
  const double edge = p.is_aligned ? 0.0 : 0.5;
  const double x = reflect(static_cast<double>(index), -edge, static_cast<double>(dim) - 1 + edge);
  return std::clamp(static_cast<int64_t>(x), int64_t{0}, dim - 1);
}

Taps make_taps(const GridSampleParams& p, float coordinate, int64_t dim) {
  const auto size = static_cast<float>(dim);
  float x = p.is_aligned ? (coordinate + 1.0f) / 2.0f * (size - 1.0f)
                         : ((coordinate + 1.0f) * size - 1.0f) / 2.0f;
  x = x > -kFar ? std::min(x, kFar) : -kFar;  // NaN too becomes far.
  Taps taps;
  const float base = p.mode == SampleMode::nearest ? std::nearbyint(x) : std::floor(x);
  const float t = x - base;
  int64_t first = static_cast<int64_t>(base);
  if (p.mode == SampleMode::nearest) {
    taps.count = 1;
    taps.weight[0] = 1.0f;
  } else if (p.mode == SampleMode::linear) {
    taps.count = 2;
    taps.weight = {1.0f - t, t, 0.0f, 0.0f};
  } else {
    const auto near = [](float d) { return ((kCubic + 2) * d - (kCubic + 3)) * d * d + 1; };
    const auto far = [](float d) {
      return ((kCubic * d - 5 * kCubic) * d + 8 * kCubic) * d - 4 * kCubic;
    };
    taps.count = 4;
    taps.weight = {far(t + 1), near(t), near(1 - t), far(2 - t)};
    --first;
  }
  for (int i = 0; i < taps.count; ++i) {
    taps.index[static_cast<size_t>(i)] = pad_index(p, first + i, dim);
  }
  return taps;
}

// Points that are prepared together: a channel is then read for all of them at once.
constexpr int64_t kPoints = 32;

// The pixels that a point reads, of every axis together.
struct Pixels {
  int count = 0;
  std::array<int64_t, kMaxTaps * kMaxTaps> offset;
  std::array<float, kMaxTaps * kMaxTaps> weight;
};

void make_pixels(const GridSampleParams& p, const float* point, Pixels& pixels) {
  pixels.count = 1;
  pixels.offset[0] = 0;
  pixels.weight[0] = 1.0f;
  for (int axis = 0; axis < p.axes; ++axis) {
    const int64_t dim = p.dims[static_cast<size_t>(axis)];
    const Taps taps = make_taps(p, point[p.axes - 1 - axis], dim);
    Pixels next;
    for (size_t i = 0; i < static_cast<size_t>(pixels.count); ++i) {
      for (size_t k = 0; k < static_cast<size_t>(taps.count); ++k) {
        if (taps.index[k] < 0) continue;
        const auto at = static_cast<size_t>(next.count++);
        next.offset[at] = pixels.offset[i] * dim + taps.index[k];
        next.weight[at] = pixels.weight[i] * taps.weight[k];
      }
    }
    pixels = next;
  }
}

float weigh(const Pixels& pixels, const float* image) {
  const auto& w = pixels.weight;
  const auto& at = pixels.offset;
  if (pixels.count == 4) {  // Bilinear, inside.
    return w[0] * image[at[0]] + w[1] * image[at[1]] + w[2] * image[at[2]] + w[3] * image[at[3]];
  }
  float sum = 0.0f;
  for (size_t i = 0; i < static_cast<size_t>(pixels.count); ++i) {
    sum += pixels.weight[i] * image[pixels.offset[i]];
  }
  return sum;
}

}  // namespace

void grid_sample(const GridSampleParams& params, const float* in, const float* grid, float* out,
                 int64_t begin, int64_t end) {
  int64_t image = 1;
  for (int axis = 0; axis < params.axes; ++axis) image *= params.dims[static_cast<size_t>(axis)];
  std::array<Pixels, kPoints> pixels;
  while (begin < end) {
    const int64_t batch = begin / params.points;
    const int64_t point = begin % params.points;
    const int64_t count = std::min({kPoints, end - begin, params.points - point});
    for (int64_t i = 0; i < count; ++i) {
      make_pixels(params, grid + (begin + i) * params.axes, pixels[static_cast<size_t>(i)]);
    }
    const float* from = in + batch * params.channels * image;
    float* to = out + batch * params.channels * params.points + point;
    for (int64_t c = 0; c < params.channels; ++c, from += image, to += params.points) {
      for (int64_t i = 0; i < count; ++i) to[i] = weigh(pixels[static_cast<size_t>(i)], from);
    }
    begin += count;
  }
}

}  // namespace colonnade::kernels

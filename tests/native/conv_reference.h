// Convolution and transposed convolution in float64, by their definitions.
#pragma once

#include "dense.h"
#include "kernels/conv/conv.h"

namespace colonnade::test {

inline int64_t in_columns(const kernels::ConvShape& s) { return s.batch * s.in_h * s.in_w; }
inline int64_t out_columns(const kernels::ConvShape& s) { return s.batch * s.out_h * s.out_w; }

inline int64_t weight_count(const kernels::ConvShape& s) {
  return s.out_channels * (s.channels / s.group) * s.kernel_h * s.kernel_w;
}

// A column of an image by batch index, row and column.
struct Position {
  int64_t n;
  int64_t h;
  int64_t w;
};

// Sum for output channel `out` at `at`. x(c, column) gives inputs; w is in ONNX order.
template <typename Input>
Sum convolve(const kernels::ConvShape& s, const float* w, const Input& x, int64_t out,
             const Position& at) {
  Sum sum;
  const int64_t channels = s.channels / s.group;
  const int64_t first = out / (s.out_channels / s.group) * channels;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < s.kernel_h; ++i) {
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        const int64_t h = at.h * s.stride_h - s.pad_top + i * s.dilation_h;
        const int64_t v = at.w * s.stride_w - s.pad_left + j * s.dilation_w;
        if (h < 0 || h >= s.in_h || v < 0 || v >= s.in_w) continue;
        sum.add(w[((out * channels + c) * s.kernel_h + i) * s.kernel_w + j],
                x(first + c, (at.n * s.in_h + h) * s.in_w + v));
      }
    }
  }
  return sum;
}

template <typename Input>
Sum convolve_transposed(const kernels::ConvShape& s, const float* w, const Input& x, int64_t out,
                        const Position& at) {
  Sum sum;
  const int64_t channels = s.channels / s.group;
  const int64_t outs = s.out_channels / s.group;
  const int64_t first = out / outs * channels;
  for (int64_t c = first; c < first + channels; ++c) {
    for (int64_t i = 0; i < s.kernel_h; ++i) {
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        for (int64_t h = 0; h < s.in_h; ++h) {
          if (h * s.stride_h - s.pad_top + i * s.dilation_h != at.h) continue;
          for (int64_t v = 0; v < s.in_w; ++v) {
            if (v * s.stride_w - s.pad_left + j * s.dilation_w != at.w) continue;
            sum.add(w[((c * outs + out % outs) * s.kernel_h + i) * s.kernel_w + j],
                    x(c, (at.n * s.in_h + h) * s.in_w + v));
          }
        }
      }
    }
  }
  return sum;
}

inline void print_shape(const char* name, const kernels::ConvShape& s) {
  const auto n = [](int64_t value) { return static_cast<int>(value); };
  std::printf("%s: batch %d, %d x %d x %d -> %d x %d x %d, kernel %d x %d, stride %d x %d, ", name,
              n(s.batch), n(s.channels), n(s.in_h), n(s.in_w), n(s.out_channels), n(s.out_h),
              n(s.out_w), n(s.kernel_h), n(s.kernel_w), n(s.stride_h), n(s.stride_w));
  std::printf("dilation %d x %d, pad %d, %d, group %d\n", n(s.dilation_h), n(s.dilation_w),
              n(s.pad_top), n(s.pad_left), n(s.group));
}

}  // namespace colonnade::test

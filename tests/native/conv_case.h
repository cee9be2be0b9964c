// One convolution with its data, and the geometries that tests go through.
#pragma once

#include <cstdio>
#include <limits>

#include "conv_reference.h"
#include "dense.h"

namespace colonnade::test {

using kernels::ConvShape;

// Everything one case needs; `variant` says which optional operands it has.
struct Case {
  ConvShape shape;
  int64_t lanes;
  kernels::ConvParams params = {};
  Buffer weights, bias, x, residual;
  Case(const ConvShape& s, int64_t panel_lanes, int variant, Random& random)
      : shape(s),
        lanes(panel_lanes),
        weights(weight_count(s), random),
        bias(s.out_channels, random),
        x(random_panels(s.channels, in_columns(s), (s.channels + 1) * lanes, lanes, random)),
        residual(random_panels(s.out_channels, out_columns(s), (s.out_channels + 2) * lanes, lanes,
                               random)) {
    params.shape = s;
    params.x = x.data();
    params.bias = variant & 1 ? bias.data() : nullptr;
    params.residual = variant & 2 ? residual.data() : nullptr;
    params.x_panel_stride = (s.channels + 1) * lanes;
    params.y_panel_stride = params.residual_panel_stride = (s.out_channels + 2) * lanes;
    params.lo = variant & 4 ? -0.25f : -std::numeric_limits<float>::infinity();
    params.hi = variant & 4 ? 0.5f : std::numeric_limits<float>::infinity();
  }
  int64_t panels() const { return panels_of(out_columns(shape), lanes); }
  Buffer make_output() const { return Buffer(panels() * params.y_panel_stride); }
  float input(int64_t channel, int64_t column) const {
    return x[panel_index(channel, column, params.x_panel_stride, lanes)];
  }
  bool same(const Buffer& a, const Buffer& b) const {
    return same_columns(a, b, shape.out_channels, out_columns(shape), params.y_panel_stride, lanes);
  }
};

inline bool is_right(const Case& c, const Buffer& y, bool is_transposed) {
  const ConvShape& s = c.shape;
  const auto input = [&](int64_t channel, int64_t column) { return c.input(channel, column); };
  const int64_t terms = s.channels / s.group * s.kernel_h * s.kernel_w;
  for (int64_t out = 0; out < s.out_channels; ++out) {
    for (int64_t l = 0; l < out_columns(s); ++l) {
      const Position at{l / (s.out_h * s.out_w), l / s.out_w % s.out_h, l % s.out_w};
      Sum sum = is_transposed ? convolve_transposed(s, c.weights.data(), input, out, at)
                              : convolve(s, c.weights.data(), input, out, at);
      const int64_t index = panel_index(out, l, c.params.y_panel_stride, c.lanes);
      if (c.params.bias != nullptr) sum.add(c.bias[out]);
      if (c.params.residual != nullptr) sum.add(c.residual[index]);
      if (!sum.accepts(y[index], terms, c.params.lo, c.params.hi)) return false;
    }
  }
  return true;
}

inline int64_t conv_extent(int64_t in, int64_t kernel, int64_t stride, int64_t dilation,
                           int64_t pad) {
  return (in + pad - (kernel - 1) * dilation - 1) / stride + 1;
}

// Fills out_h and out_w; false where nothing comes out. `pad_end` is the bottom and right padding.
inline bool finish_conv(ConvShape& s, int64_t pad_end) {
  const int64_t room_h = s.in_h + s.pad_top + pad_end - (s.kernel_h - 1) * s.dilation_h;
  const int64_t room_w = s.in_w + s.pad_left + pad_end - (s.kernel_w - 1) * s.dilation_w;
  if (room_h < 1 || room_w < 1) return false;
  s.out_h = conv_extent(s.in_h, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top + pad_end);
  s.out_w = conv_extent(s.in_w, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left + pad_end);
  return true;
}

// Images, kernels and strides that cut panels at every awkward place.
template <typename Fn>
void for_each_geometry(const Fn& fn) {
  struct Image {
    int64_t batch, h, w;
  };
  struct Filter {
    int64_t h, w, stride_h, stride_w, dilation_h, dilation_w, top, left, end;
  };
  const Image images[] = {{1, 1, 1},  {1, 7, 7},  {3, 7, 7},   {2, 5, 9},  {1, 1, 130},
                          {1, 9, 64}, {2, 8, 16}, {1, 14, 14}, {5, 3, 3},  {1, 4, 67},
                          {1, 33, 2}, {1, 6, 65}, {1, 13, 31}, {130, 1, 1}};
  const Filter filters[] = {
      {1, 1, 1, 1, 1, 1, 0, 0, 0}, {3, 3, 1, 1, 1, 1, 1, 1, 1}, {3, 3, 2, 2, 1, 1, 1, 1, 1},
      {1, 1, 2, 2, 1, 1, 0, 0, 0}, {5, 5, 1, 1, 1, 1, 2, 2, 2}, {3, 3, 1, 1, 2, 2, 2, 2, 2},
      {1, 3, 1, 1, 1, 1, 0, 1, 1}, {3, 1, 2, 1, 1, 1, 1, 0, 1}, {7, 7, 2, 2, 1, 1, 3, 3, 3},
      {2, 2, 3, 3, 1, 1, 0, 0, 0}, {3, 3, 2, 2, 1, 1, 0, 0, 1}, {3, 2, 1, 3, 1, 2, 2, 0, 1},
      {5, 5, 2, 2, 1, 1, 2, 2, 2}, {3, 3, 1, 1, 1, 1, 4, 5, 4}, {5, 3, 4, 1, 1, 1, 0, 2, 0},
      {4, 4, 2, 2, 1, 1, 1, 1, 1}, {3, 3, 1, 2, 1, 1, 1, 1, 1}, {3, 3, 2, 1, 1, 1, 1, 1, 1}};
  for (const Image& image : images) {
    for (const Filter& f : filters) {
      ConvShape s = {
          image.batch, 1,          image.h,      image.w,      1,     0,      0, f.h, f.w,
          f.stride_h,  f.stride_w, f.dilation_h, f.dilation_w, f.top, f.left, 1};
      fn(s, f.end);
    }
  }
}

}  // namespace colonnade::test

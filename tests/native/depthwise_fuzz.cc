// Random depthwise convolutions on every row, in random parts, between fences: panels at any
// alignment, scratch of exactly the promised size. Answers are checked against float64, and what is
// not asked for must stay as it was. Start reading at run_case.
//
//   depthwise_fuzz [cases]
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>

#include "check.h"
#include "conv_reference.h"
#include "dense.h"
#include "fenced.h"
#include "kernels/depthwise/depthwise.h"

using namespace colonnade;
using kernels::ConvShape;
using kernels::DepthwiseParams;
using kernels::DepthwiseRow;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kUntouched = 777.0f;

class Maker {
 public:
  explicit Maker(uint32_t seed) : random_(seed), floats_(seed) {}
  int64_t pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  bool one_in(int64_t n) { return pick(1, n) == 1; }
  float real() { return floats_.next(); }
  void fill(test::FencedFloats& floats) {
    for (int64_t i = 0; i < floats.size(); ++i) floats[i] = real();
  }

 private:
  std::mt19937 random_;
  test::Random floats_;
};

struct Axis {
  int64_t in, out, kernel, stride, dilation, pad;
};

// Mostly "same" padding, which the fast paths take; else any, more than the kernel reaches
// included.
Axis make_axis(Maker& make, bool is_long) {
  constexpr int64_t kKernels[] = {1, 2, 3, 3, 3, 5, 5, 7, 9, 11, 12};
  Axis a;
  a.kernel = kKernels[make.pick(0, 10)];
  a.stride = make.one_in(12) ? make.pick(3, 130) : make.pick(1, 2);
  a.dilation = make.one_in(4) ? make.pick(2, 5) : 1;
  a.in = make.pick(1, is_long ? 200 : 30);
  const int64_t span = (a.kernel - 1) * a.dilation + 1;
  if (make.one_in(4)) {
    a.pad = make.pick(0, 2 * span);
    const int64_t pad_end = make.pick(0, 2 * span);
    a.out = (a.in + a.pad + pad_end - span) / a.stride + 1;
    if (a.in + a.pad + pad_end < span) a.out = 0;
  } else {
    a.out = (a.in + a.stride - 1) / a.stride;
    const int64_t needed = (a.out - 1) * a.stride + span - a.in;
    a.pad = needed <= 0 ? 0 : make.one_in(3) ? make.pick(0, needed) : (needed + 1) / 2;
  }
  return a;
}

ConvShape make_shape(Maker& make) {
  for (;;) {
    Axis h = make_axis(make, make.one_in(8));
    const Axis w = make_axis(make, make.one_in(4));
    if (make.pick(1, 2) == 1) {  // Square kernels with one stride have kernels of their own.
      const int64_t in = h.in;
      h = w;
      h.in = in;
      h.out = (in + w.pad + w.pad + h.stride - 1 - (h.kernel - 1) * h.dilation) / h.stride;
      if (2 * w.pad + in < (h.kernel - 1) * h.dilation + 1) h.out = 0;
    }
    if (h.out < 1 || w.out < 1) continue;
    const int64_t channels = make.pick(1, 4);
    return {make.one_in(2) ? make.pick(2, 3) : 1,
            channels,
            h.in,
            w.in,
            channels * (make.one_in(4) ? 2 : 1),
            h.out,
            w.out,
            h.kernel,
            w.kernel,
            h.stride,
            w.stride,
            h.dilation,
            w.dilation,
            h.pad,
            w.pad,
            channels};
  }
}

// Output panels and input channels of one call.
struct Part {
  int64_t panel_begin, panel_end, channel_begin, channel_end;
};

Part make_part(Maker& make, int64_t panels, int64_t channels) {
  Part part{0, panels, 0, channels};
  if (make.one_in(3)) return part;
  part.panel_begin = make.pick(0, panels - 1);
  part.panel_end = make.pick(part.panel_begin + 1, panels);
  part.channel_begin = make.pick(0, channels - 1);
  part.channel_end = make.pick(part.channel_begin + 1, channels);
  return part;
}

bool is_right(const DepthwiseParams& p, const Part& part, const float* y, int64_t lanes) {
  const ConvShape& s = p.shape;
  const int64_t multiplier = s.out_channels / s.channels;
  const auto input = [&](int64_t c, int64_t column) {
    return p.x[test::panel_index(c, column, p.x_panel_stride, lanes)];
  };
  const int64_t end = std::min(part.panel_end * lanes, test::out_columns(s));
  for (int64_t f = part.channel_begin * multiplier; f < part.channel_end * multiplier; ++f) {
    for (int64_t l = part.panel_begin * lanes; l < end; ++l) {
      const test::Position at{l / (s.out_h * s.out_w), l / s.out_w % s.out_h, l % s.out_w};
      test::Sum sum = test::convolve(s, p.w, input, f, at);
      if (p.bias != nullptr) sum.add(p.bias[f]);
      const float value = y[test::panel_index(f, l, p.y_panel_stride, lanes)];
      if (!sum.accepts(value, s.kernel_h * s.kernel_w, p.lo, p.hi)) return false;
    }
  }
  return true;
}

// Rows of other channels and panels, and what lies between panels.
bool is_rest_untouched(const DepthwiseParams& p, const Part& part, const test::FencedFloats& y,
                       int64_t lanes) {
  const int64_t multiplier = p.shape.out_channels / p.shape.channels;
  for (int64_t i = 0; i < y.size(); ++i) {
    const int64_t panel = i / p.y_panel_stride;
    const int64_t channel = i % p.y_panel_stride / lanes / multiplier;
    const bool is_inside = panel >= part.panel_begin && panel < part.panel_end &&
                           channel >= part.channel_begin && channel < part.channel_end;
    if (!is_inside && y[i] != kUntouched) return false;
  }
  return true;
}

void fill_panels(Maker& make, test::FencedFloats& x, const DepthwiseParams& p, int64_t lanes) {
  for (int64_t c = 0; c < p.shape.channels; ++c) {
    for (int64_t l = 0; l < test::in_columns(p.shape); ++l) {
      x[test::panel_index(c, l, p.x_panel_stride, lanes)] = make.real();
    }
  }
}

void run_case(const DepthwiseRow& row, uint32_t seed) {
  Maker make(seed);
  DepthwiseParams p = {};
  const ConvShape& s = p.shape = make_shape(make);
  const int64_t lanes = row.panel_lanes;
  const int64_t panels = test::panels_of(test::out_columns(s), lanes);
  p.x_panel_stride = (s.channels + make.pick(0, 1)) * lanes;
  p.y_panel_stride = (s.out_channels + make.pick(0, 1)) * lanes;
  test::FencedFloats x(test::panels_of(test::in_columns(s), lanes) * p.x_panel_stride, NAN,
                       make.pick(0, 15));
  fill_panels(make, x, p, lanes);
  test::FencedFloats w(test::weight_count(s)), bias(s.out_channels);
  make.fill(w);
  make.fill(bias);
  test::FencedFloats y(panels * p.y_panel_stride, kUntouched, make.pick(0, 15));
  // Scratch is whole lines, so that its end can be aligned as its start.
  const int64_t scratch_floats = (kernels::depthwise_scratch_bytes(row, s) + 63) / 64 * 16;
  test::FencedFloats scratch(scratch_floats, NAN);
  p.x = x.data();
  p.w = w.data();
  p.bias = make.one_in(3) ? nullptr : bias.data();
  p.y = y.data();
  p.lo = make.one_in(2) ? -kInfinity : -0.25f;
  p.hi = make.one_in(2) ? kInfinity : 0.5f;
  const Part part = make_part(make, panels, s.channels);
  row.run(p, part.panel_begin, part.panel_end, part.channel_begin, part.channel_end,
          scratch.data());
  const bool passed =
      EXPECT(is_right(p, part, y.data(), lanes)) & EXPECT(is_rest_untouched(p, part, y, lanes));
  if (passed) return;
  test::print_shape(row.name, s);
  std::printf("seed %u, panels %d to %d, channels %d to %d\n", seed,
              static_cast<int>(part.panel_begin), static_cast<int>(part.panel_end),
              static_cast<int>(part.channel_begin), static_cast<int>(part.channel_end));
}

}  // namespace

int main(int count, char** arguments) {
  const auto cases = static_cast<uint32_t>(count > 1 ? std::atoi(arguments[1]) : 1500);
  for (const auto& row : kernels::depthwise_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    for (uint32_t seed = 0; seed < cases; ++seed) run_case(row, seed);
  }
  return test::finish();
}

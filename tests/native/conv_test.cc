// Convolution, transposed and depthwise, against float64; any split of the work gives the same
// bits.
#include "kernels/conv/conv.h"

#include <cstdio>

#include "check.h"
#include "conv_case.h"
#include "kernels/depthwise/depthwise.h"

using namespace colonnade;
using kernels::ConvShape;
using test::Case;
using test::finish_conv;
using test::for_each_geometry;

namespace {

struct Kernel {
  const kernels::ConvRow& row;
  bool is_transposed;
  int64_t scratch_bytes(const ConvShape& s) const {
    return is_transposed ? kernels::conv_transpose_scratch_bytes(row, s)
                         : kernels::conv_scratch_bytes(row, s);
  }
  void pack(const float* w, const ConvShape& s, float* packed) const {
    is_transposed ? kernels::pack_conv_transpose_weights(w, s, row, packed)
                  : kernels::pack_conv_weights(w, s, row, packed);
  }
  void unpack(const float* packed, const ConvShape& s, float* w) const {
    is_transposed ? kernels::unpack_conv_transpose_weights(packed, s, row, w)
                  : kernels::unpack_conv_weights(packed, s, row, w);
  }
};

struct SeenRows {
  const kernels::ConvParams* params;
  int64_t lanes;
  int64_t seen = 0;
  bool in_place = true;
};

void double_rows(void* context, float* y_rows, int64_t panel, int64_t m0, int64_t m1) {
  auto& seen = *static_cast<SeenRows*>(context);
  const float* expected = seen.params->y + panel * seen.params->y_panel_stride + m0 * seen.lanes;
  seen.in_place &= y_rows == expected && m1 > m0;
  seen.seen += m1 - m0;
  for (int64_t i = 0; i < (m1 - m0) * seen.lanes; ++i) y_rows[i] *= 2;
}

void check_epilogue(const Kernel& kernel, Case& c, const test::Buffer& y, int64_t tiles,
                    void* scratch) {
  test::Buffer doubled = c.make_output();
  c.params.y = doubled.data();
  SeenRows seen{&c.params, c.lanes};
  c.params.epilogue = &double_rows;
  c.params.epilogue_context = &seen;
  kernel.row.run(c.params, 0, c.panels(), 0, tiles, scratch);
  EXPECT(seen.in_place && seen.seen == c.panels() * c.shape.out_channels);
  test::Buffer expected = y;
  for (int64_t i = 0; i < y.size(); ++i) expected[i] *= 2;
  EXPECT(c.same(expected, doubled));
}

void check_conv(const Kernel& kernel, const ConvShape& s, int variant) {
  test::Random random(static_cast<uint64_t>(s.channels * 10007 + s.in_w * 101 + s.kernel_w));
  Case c(s, kernel.row.panel_lanes, variant, random);
  test::Buffer packed(c.weights.size());
  kernel.pack(c.weights.data(), s, packed.data());
  test::Buffer back(c.weights.size());
  kernel.unpack(packed.data(), s, back.data());
  bool unpacked = packed.intact() && back.intact();
  for (int64_t i = 0; i < back.size(); ++i) unpacked &= back[i] == c.weights[i];
  EXPECT(unpacked);
  c.params.w = packed.data();
  test::Buffer scratch(kernel.scratch_bytes(s) / 4 + 1, NAN);
  const int64_t tiles = kernels::conv_tiles(s, kernel.row.tile_rows);
  test::Buffer y = c.make_output();
  c.params.y = y.data();
  kernel.row.run(c.params, 0, c.panels(), 0, tiles, scratch.data());
  if (!EXPECT(is_right(c, y, kernel.is_transposed))) {
    test::print_shape(kernel.row.name, s);
  }
  EXPECT(y.intact() && scratch.intact());
  test::Buffer split = c.make_output();
  c.params.y = split.data();
  for (int64_t tile = tiles - 1; tile >= 0; --tile) {
    for (int64_t panel = c.panels() - 1; panel >= 0; --panel) {
      kernel.row.run(c.params, panel, panel + 1, tile, tile + 1, scratch.data());
    }
  }
  if (!EXPECT(c.same(y, split))) test::print_shape(kernel.row.name, s);
  check_epilogue(kernel, c, y, tiles, scratch.data());
}

bool finish_transposed(ConvShape& s, int64_t pad_end) {
  s.out_h = (s.in_h - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1 - s.pad_top - pad_end;
  s.out_w = (s.in_w - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1 - s.pad_left - pad_end;
  return s.out_h >= 1 && s.out_w >= 1;
}

void check_all_convs(const Kernel& kernel) {
  const auto finish = kernel.is_transposed ? &finish_transposed : &finish_conv;
  const int64_t rows = kernel.row.tile_rows;
  int variant = 0;
  for_each_geometry([&](ConvShape s, int64_t pad_end) {
    if (!finish(s, pad_end)) return;
    s.channels = variant % 3 == 0 ? 4 : 2;
    s.group = variant % 3 == 0 ? 2 : 1;
    s.out_channels = s.group * (variant % 2 == 0 ? rows + 1 : 2);
    check_conv(kernel, s, variant++ % 8);
  });
  // Several blocks of depth, row tails, and more taps than a block has rows.
  for (ConvShape s : {ConvShape{1, 301, 6, 13, 13, 0, 0, 3, 3, 1, 1, 1, 1, 1, 1, 1},
                      ConvShape{1, 1100, 3, 3, 5, 0, 0, 1, 1, 2, 2, 1, 1, 0, 0, 1},
                      ConvShape{1, 3, 40, 40, 7, 0, 0, 33, 33, 1, 1, 1, 1, 16, 16, 1}}) {
    for (const int v : {3, 7}) {
      if (finish(s, s.pad_top)) check_conv(kernel, s, v);
    }
  }
}

void check_depthwise(const kernels::DepthwiseRow& row, const ConvShape& s, int variant) {
  test::Random random(static_cast<uint64_t>(s.channels * 10007 + s.in_w * 101 + s.kernel_w));
  Case c(s, row.panel_lanes, variant & ~2, random);
  kernels::DepthwiseParams p = {};
  p.shape = s;
  p.w = c.weights.data();
  p.bias = c.params.bias;
  p.x = c.params.x;
  p.x_panel_stride = c.params.x_panel_stride;
  p.y_panel_stride = c.params.y_panel_stride;
  p.lo = c.params.lo;
  p.hi = c.params.hi;
  test::Buffer scratch(kernels::depthwise_scratch_bytes(row, s) / 4 + 1, NAN);
  test::Buffer y = c.make_output();
  p.y = y.data();
  row.run(p, 0, c.panels(), 0, s.channels, scratch.data());
  if (!EXPECT(is_right(c, y, false))) test::print_shape(row.name, s);
  EXPECT(y.intact() && scratch.intact());
  test::Buffer split = c.make_output();
  p.y = split.data();
  for (int64_t channel = s.channels - 1; channel >= 0; --channel) {
    for (int64_t panel = c.panels() - 1; panel >= 0; --panel) {
      row.run(p, panel, panel + 1, channel, channel + 1, scratch.data());
    }
  }
  if (!EXPECT(c.same(y, split))) test::print_shape(row.name, s);
  test::Buffer doubled = c.make_output();
  c.params.y = p.y = doubled.data();
  SeenRows seen{&c.params, c.lanes};
  p.epilogue = &double_rows;
  p.epilogue_context = &seen;
  row.run(p, 0, c.panels(), 0, s.channels, scratch.data());
  EXPECT(seen.in_place && seen.seen == c.panels() * s.out_channels);
  for (int64_t i = 0; i < y.size(); ++i) y[i] *= 2;
  EXPECT(c.same(y, doubled));
}

void check_all_depthwise(const kernels::DepthwiseRow& row) {
  int variant = 0;
  for_each_geometry([&](ConvShape s, int64_t pad_end) {
    if (!finish_conv(s, pad_end)) return;
    s.channels = s.group = variant % 3 + 1;
    s.out_channels = s.channels * (variant % 4 == 3 ? 2 : 1);
    check_depthwise(row, s, variant++ % 8);
  });
  for (ConvShape s : {ConvShape{1, 2, 112, 112, 2, 0, 0, 3, 3, 1, 1, 1, 1, 1, 1, 2},
                      ConvShape{1, 2, 112, 112, 2, 0, 0, 3, 3, 2, 2, 1, 1, 1, 1, 2},
                      ConvShape{2, 1, 20, 300, 1, 0, 0, 9, 9, 1, 1, 1, 1, 4, 4, 1},
                      ConvShape{1, 1, 3, 5000, 1, 0, 0, 3, 3, 1, 1, 1, 1, 1, 1, 1}}) {
    if (finish_conv(s, s.pad_top)) check_depthwise(row, s, 5);
  }
}

}  // namespace

int main() {
  for (const auto& row : kernels::conv_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    check_all_convs({row, false});
  }
  for (const auto& row : kernels::conv_transpose_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    check_all_convs({row, true});
  }
  for (const auto& row : kernels::depthwise_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    check_all_depthwise(row);
  }
  return test::finish();
}

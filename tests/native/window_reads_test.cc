// Kernels that run in stripes read no panel outside of their reach, and 64 bytes around it at most:
// the panels of a window lie between pages that nobody may touch.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <vector>

#include "check.h"
#include "dense.h"
#include "exec/reach.h"
#include "kernels/bytes/bytes.h"
#include "kernels/conv/conv.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/pool/pool.h"
#include "kernels/qmatmul/qmatmul.h"

using namespace colonnade;
using exec::Reach;
using kernels::ConvShape;

namespace {

constexpr size_t kSlack = 64;

// Bytes with a forbidden page on both sides; `at_end` says which of them is next to the bytes.
class Guarded {
 public:
  Guarded(const void* from, size_t bytes, bool at_end)
      : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    const size_t usable = (bytes + 2 * kSlack + page_ - 1) / page_ * page_;
    size_ = usable + 2 * page_;
    base_ = static_cast<std::byte*>(
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_, page_, PROT_NONE);
    mprotect(base_ + page_ + usable, page_, PROT_NONE);
    data_ = base_ + page_ + (at_end ? usable - kSlack - bytes : kSlack);
    std::memcpy(data_, from, bytes);
  }
  ~Guarded() { munmap(base_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  std::byte* data() const { return data_; }

 private:
  size_t page_;
  size_t size_;
  std::byte* base_;
  std::byte* data_;
};

// Runs output panels [a, b) on x, writing to y.
using Run = std::function<void(const float* x, float* y, int64_t a, int64_t b)>;

void check_reads(const Reach& reach, int64_t in_panel, int64_t out_panel, const Run& run) {
  const int64_t panels = test::panels_of(reach.out_columns, reach.lanes);
  const int64_t in_columns =
      reach.out_columns / (reach.out_h * reach.out_w) * reach.in_h * reach.in_w;
  test::Random random(7);
  const test::Buffer x(test::panels_of(in_columns, reach.lanes) * in_panel, random);
  test::Buffer whole(panels * out_panel, -7.0f);
  run(x.data(), whole.data(), 0, panels);
  for (int64_t a = 0; a < panels; ++a) {
    for (const int64_t b : {a + 1, std::min(a + 3, panels)}) {
      const int64_t first = exec::first_read(reach, a), end = exec::end_read(reach, b);
      for (const bool at_end : {false, true}) {
        const Guarded window(x.data() + first * in_panel,
                             static_cast<size_t>(4 * (end - first) * in_panel), at_end);
        const auto virtual_x = reinterpret_cast<intptr_t>(window.data()) - 4 * first * in_panel;
        test::Buffer y(panels * out_panel, -7.0f);
        run(reinterpret_cast<const float*>(virtual_x), y.data(), a, b);
        bool same = true;
        for (int64_t l = a * reach.lanes; l < std::min(b * reach.lanes, reach.out_columns); ++l) {
          for (int64_t f = 0; f < out_panel / reach.lanes; ++f) {
            const int64_t i = l / reach.lanes * out_panel + f * reach.lanes + l % reach.lanes;
            same &=
                std::memcmp(y.data() + i, whole.data() + i, 4) == 0;  // Bytes may look like NaN.
          }
        }
        EXPECT(same);
      }
    }
  }
}

ConvShape make_shape(int64_t channels, int64_t outs, int64_t group, int64_t size, int64_t kernel,
                     int64_t stride, int64_t pad, int64_t dilation) {
  const int64_t out = (size + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  const int64_t out_w = (size + 3 + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  return {2,      channels, size,   size + 3, outs,     out, out_w, kernel,
          kernel, stride,   stride, dilation, dilation, pad, pad,   group};
}

Reach reach_of(const ConvShape& s, int64_t lanes) {
  return {lanes,      s.batch * s.out_h * s.out_w,         s.in_h,   s.in_w, s.out_h, s.out_w,
          s.stride_h, (s.kernel_h - 1) * s.dilation_h + 1, s.pad_top};
}

void check_depthwise(const kernels::DepthwiseRow& row, const ConvShape& s) {
  const int64_t lanes = row.panel_lanes;
  test::Random random(3);
  const test::Buffer w(s.out_channels * s.kernel_h * s.kernel_w, random);
  test::Buffer scratch(kernels::depthwise_scratch_bytes(row, s) / 4 + 16);
  check_reads(reach_of(s, lanes), s.channels * lanes, s.out_channels * lanes,
              [&](const float* x, float* y, int64_t a, int64_t b) {
                const kernels::DepthwiseParams p{
                    s,     w.data(), nullptr, x,      y, s.channels * lanes, s.out_channels * lanes,
                    -1e9f, 1e9f,     nullptr, nullptr};
                row.run(p, a, b, 0, s.channels, scratch.data());
              });
}

void check_conv(const kernels::ConvRow& row, const ConvShape& s) {
  const int64_t lanes = row.panel_lanes;
  test::Random random(5);
  const test::Buffer w(s.out_channels * s.channels / s.group * s.kernel_h * s.kernel_w, random);
  test::Buffer scratch(kernels::conv_scratch_bytes(row, s) / 4 + 16);
  check_reads(reach_of(s, lanes), s.channels * lanes, s.out_channels * lanes,
              [&](const float* x, float* y, int64_t a, int64_t b) {
                const kernels::ConvParams p{s,
                                            w.data(),
                                            nullptr,
                                            x,
                                            y,
                                            nullptr,
                                            s.channels * lanes,
                                            s.out_channels * lanes,
                                            0,
                                            -1e9f,
                                            1e9f,
                                            nullptr,
                                            nullptr,
                                            0.0f};
                row.run(p, a, b, 0, kernels::conv_tiles(s, row.tile_rows), scratch.data());
              });
}

// A panel row holds four features: x is bytes, y float32.
void check_bytes(const kernels::ByteMatmulRow& row, const ConvShape& s, bool is_depthwise) {
  const int64_t lanes = row.panel_lanes;
  const auto m = static_cast<size_t>(s.out_channels);
  const std::vector<int8_t> taps(static_cast<size_t>(kernels::packed_byte_depthwise_weights(s)), 3);
  const int64_t depth = s.channels / s.group * s.kernel_h * s.kernel_w;
  const std::vector<int8_t> w(m * static_cast<size_t>(depth), 101);
  const auto packed = kernels::pack_byte_conv_weights(w.data(), s, row.form);
  const std::vector<float> w_scale(m, 0.5f);
  const std::vector<int32_t> w_sum(m, 11);
  const float x_scale = 0.25f;
  const uint8_t x_zero = 128;
  const int64_t bytes = is_depthwise ? kernels::byte_depthwise_scratch_bytes(s, lanes)
                                     : kernels::byte_conv_scratch_bytes(s, lanes);
  test::Buffer scratch(bytes / 4 + 16);
  check_reads(reach_of(s, lanes), kernels::byte_groups(s.channels) * lanes, s.out_channels * lanes,
              [&](const float* x, float* y, int64_t a, int64_t b) {
                kernels::ByteConvParams p{};
                p.shape = s;
                if (is_depthwise) {
                  p.w.tiles = taps.data();
                } else {
                  p.w = kernels::view_byte_weights(packed.data(), s.out_channels,
                                                   kernels::byte_conv_groups(s), row.form);
                }
                p.x = reinterpret_cast<const uint8_t*>(x);
                p.out.w_scale = w_scale.data();
                p.out.w_sum = w_sum.data();
                p.out.x_scale = &x_scale;
                p.out.x_zero = &x_zero;
                p.out.y = y;
                p.out.m = s.out_channels;
                p.out.lo = -1e9f;
                p.out.hi = 1e9f;
                const auto run = is_depthwise ? row.depthwise : row.conv;
                run(p, a, b, 0, kernels::byte_tiles(s.out_channels), scratch.data());
              });
}

void check_pool(const kernels::PoolRow& row, const ConvShape& s, kernels::PoolKind kind) {
  const int64_t lanes = row.panel_lanes;
  kernels::PoolParams p{};
  p.kind = kind;
  p.batch = s.batch;
  p.channels = s.channels;
  p.in_h = s.in_h;
  p.in_w = s.in_w;
  p.out_h = s.out_h;
  p.out_w = s.out_w;
  p.kernel_h = p.kernel_w = s.kernel_h;
  p.stride_h = p.stride_w = s.stride_h;
  p.dilation_h = p.dilation_w = s.dilation_h;
  p.pad_top = p.pad_left = p.pad_bottom = p.pad_right = s.pad_top;
  test::Buffer scratch(kernels::pool_scratch_floats(p) + 16);
  check_reads(reach_of(s, lanes), s.channels * lanes, s.channels * lanes,
              [&](const float* x, float* y, int64_t a, int64_t b) {
                p.x = x;
                p.y = y;
                row.panels(p, a, b, scratch.data());
              });
}

void check_byte_pool(const kernels::BytesRow& row, const ConvShape& s, kernels::PoolKind kind) {
  const float scale = 0.5f;
  const uint8_t zero = 100;
  kernels::BytePoolParams b{};
  kernels::PoolParams& p = b.window;
  p.kind = kind;
  p.batch = s.batch;
  p.channels = s.channels;
  p.in_h = s.in_h;
  p.in_w = s.in_w;
  p.out_h = s.out_h;
  p.out_w = s.out_w;
  p.kernel_h = p.kernel_w = s.kernel_h;
  p.stride_h = p.stride_w = s.stride_h;
  p.dilation_h = p.dilation_w = s.dilation_h;
  p.pad_top = p.pad_left = p.pad_bottom = p.pad_right = s.pad_top;
  b.x = {nullptr, &scale, &zero};
  b.y_scale = &scale;
  b.y_zero = &zero;
  const int64_t panel = s.channels * row.panel_lanes;
  test::Buffer scratch(kernels::byte_pool_scratch_floats(p) + 16);
  check_reads(reach_of(s, row.panel_lanes), panel, panel,
              [&](const float* x, float* y, int64_t first, int64_t end) {
                p.x = x;
                p.y = y;
                row.pool_panels(b, first, end, scratch.data());
              });
}

struct Geometry {
  int64_t size, kernel, stride, pad, dilation;
};
constexpr Geometry kGeometries[] = {{14, 3, 1, 1, 1}, {28, 3, 2, 1, 1}, {13, 5, 1, 2, 1},
                                    {29, 5, 2, 2, 1}, {30, 3, 2, 0, 1}, {17, 3, 1, 2, 2},
                                    {19, 2, 3, 1, 1}, {12, 7, 1, 3, 1}};

}  // namespace

int main() {
  for (const Geometry& g : kGeometries) {
    const auto shape = [&](int64_t channels, int64_t outs, int64_t group) {
      return make_shape(channels, outs, group, g.size, g.kernel, g.stride, g.pad, g.dilation);
    };
    for (const auto& row : kernels::depthwise_rows()) {
      if (!test::can_run(row.isa)) continue;
      check_depthwise(row, shape(3, 3, 3));
      check_depthwise(row, shape(2, 4, 2));
    }
    for (const auto& row : kernels::conv_rows()) {
      if (!test::can_run(row.isa)) continue;
      check_conv(row, shape(3, 5, 1));
      check_conv(row, shape(4, 6, 2));
    }
    for (const auto& row : kernels::byte_matmul_rows()) {
      if (!test::can_run(row.isa)) continue;
      check_bytes(row, shape(7, 5, 1), false);
      check_bytes(row, shape(8, 8, 2), false);
      check_bytes(row, shape(6, 6, 6), true);
    }
    for (const auto& row : kernels::pool_rows()) {
      if (!test::can_run(row.isa)) continue;
      check_pool(row, shape(3, 3, 1), kernels::PoolKind::max);
      check_pool(row, shape(3, 3, 1), kernels::PoolKind::mean);
    }
    for (const auto& row : kernels::bytes_rows()) {
      if (!test::can_run(row.isa)) continue;
      check_byte_pool(row, shape(3, 3, 1), kernels::PoolKind::max);
      check_byte_pool(row, shape(3, 3, 1), kernels::PoolKind::mean);
    }
  }
  return colonnade::test::finish();
}

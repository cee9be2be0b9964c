#include "exec/ops/conv_shape.h"

namespace colonnade::exec {
namespace {

using kernels::ConvShape;

constexpr int64_t kMaxExtent = int64_t{1} << 31;
// No image with its padding is longer.
constexpr int64_t kMaxReach = 4 * kMaxExtent;

// `rows`, `columns`: of the side with the stride between, out or for a transposed one in.
bool reaches_too_far(const ConvShape& s, int64_t rows, int64_t columns) {
  for (const int64_t reach :
       {checked_product({rows, s.stride_h}), checked_product({columns, s.stride_w}),
        checked_product({s.kernel_h, s.dilation_h}), checked_product({s.kernel_w, s.dilation_w})}) {
    if (reach < 0 || reach > kMaxReach) return true;
  }
  return false;
}

}  // namespace

ConvShape read_conv_shape(ParamReader& in) {
  ConvShape s;
  for (int64_t* field : {&s.batch, &s.channels, &s.in_h, &s.in_w, &s.out_channels, &s.out_h,
                         &s.out_w, &s.kernel_h, &s.kernel_w, &s.stride_h, &s.stride_w,
                         &s.dilation_h, &s.dilation_w, &s.pad_top, &s.pad_left, &s.group}) {
    *field = in.integer();
  }
  return s;
}

std::string check_conv_shape(const ConvShape& s, bool is_transposed) {
  for (const int64_t extent :
       {s.batch, s.channels, s.in_h, s.in_w, s.out_channels, s.out_h, s.out_w, s.kernel_h,
        s.kernel_w, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.group}) {
    if (extent < 1 || extent > kMaxExtent) return "convolution sizes out of range";
  }
  if (s.pad_top < 0 || s.pad_left < 0 || s.pad_top > kMaxExtent || s.pad_left > kMaxExtent) {
    return "convolution padding out of range";
  }
  if (s.channels % s.group != 0 || s.out_channels % s.group != 0) {
    return "group does not divide the channels";
  }
  if (reaches_too_far(s, is_transposed ? s.in_h : s.out_h, is_transposed ? s.in_w : s.out_w)) {
    return "convolution reaches too far";
  }
  return "";
}

void set_conv_uses(const ConvShape& s, int64_t lanes, const Epilogue& epilogue,
                   Prepared& prepared) {
  const PanelUse y = write_same(s.out_channels * lanes);
  prepared.uses = {read_reach(s.channels * lanes), {}, {}, read_same(s.out_channels * lanes), y};
  add_extra_uses(epilogue, prepared.uses);
  const int64_t span_h = (s.kernel_h - 1) * s.dilation_h + 1;
  prepared.reach = {
      lanes,    s.batch * s.out_h * s.out_w, s.in_h, s.in_w, s.out_h, s.out_w, s.stride_h, span_h,
      s.pad_top};
}

}  // namespace colonnade::exec

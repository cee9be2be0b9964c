// Parameters of pooling windows, for adapters.
#pragma once

#include <string>

#include "exec/op.h"
#include "exec/ops/check.h"
#include "kernels/pool/pool.h"

namespace colonnade::exec {

// kind, count_padding, batch, channels, in (2), out (2), kernel (2), stride (2), dilation (2),
// pads (4). Returns the reason why they are refused, or nothing.
inline std::string read_pool_params(ParamReader& in, kernels::PoolParams& p) {
  constexpr int64_t kMaxExtent = int64_t{1} << 31;
  p = {};
  const int64_t kind = in.integer();
  if (kind < 0 || kind > 1) return "unknown kind of pooling";
  p.kind = static_cast<kernels::PoolKind>(kind);
  p.count_padding = in.integer() != 0;
  for (int64_t* field : {&p.batch, &p.channels, &p.in_h, &p.in_w, &p.out_h, &p.out_w, &p.kernel_h,
                         &p.kernel_w, &p.stride_h, &p.stride_w, &p.dilation_h, &p.dilation_w}) {
    *field = in.integer();
    if (*field < 1 || *field > kMaxExtent) return "pooling sizes out of range";
  }
  for (int64_t* field : {&p.pad_top, &p.pad_left, &p.pad_bottom, &p.pad_right}) {
    *field = in.integer();
    if (*field < 0 || *field > kMaxExtent) return "pooling padding out of range";
  }
  if (checked_product({kernels::pool_image_h(p), kernels::pool_image_w(p), 8}) < 0) {
    return "pooling window is too large";
  }
  return "";
}

inline Reach pool_reach(const kernels::PoolParams& p, int64_t lanes) {
  return {lanes,      p.batch * p.out_h * p.out_w,         p.in_h,   p.in_w, p.out_h, p.out_w,
          p.stride_h, (p.kernel_h - 1) * p.dilation_h + 1, p.pad_top};
}

}  // namespace colonnade::exec

// Sizes of byte panels, for adapters.
#pragma once

#include "exec/ops/check.h"
#include "kernels/bytes/bytes.h"

namespace colonnade::exec {

inline bool holds_bytes(const OperandInfo& operand, int64_t count) {
  return operand.present() && count >= 0 && operand.bytes >= count;
}

// Lanes of 32 bits of a features x columns matrix of bytes in whole panels, or -1.
inline int64_t byte_panel_lanes(int64_t features, int64_t columns, int64_t lanes) {
  return features < 0 ? -1 : panel_floats(kernels::byte_groups(features), columns, lanes);
}

}  // namespace colonnade::exec

// How the sparse kernels cut their work: constants only, so that every instruction set may include
// it.
#pragma once

#include <cstdint>

#include "kernels/conv/blocks.h"

namespace colonnade::kernels {

// Panels that one pass over the weights may serve: three of 16 lanes fill AVX2's registers.
inline constexpr int64_t kSparsePanelsMax = 3;

// Scratch for how one panel is packed.
constexpr int64_t sparse_plan_bytes(int64_t taps, int64_t lanes) {
  return (taps < kConvPlannedTaps ? taps : kConvPlannedTaps) * lanes * kConvRunBytes;
}

}  // namespace colonnade::kernels

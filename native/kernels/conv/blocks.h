// How a convolution's work is cut: constants only, so that every instruction set may include it.
#pragma once

#include <cstdint>

namespace colonnade::kernels {

// Rows (channels x taps) of a packed block: 1024 rows of 64 lanes are 256 KB, a quarter of a common
// L2.
inline constexpr int64_t kConvBlockRows = 1024;

// Taps whose sources are worked out together, once per panel: all of a 5 x 5 kernel.
inline constexpr int64_t kConvPlannedTaps = 32;

// Bytes of a Run or a Piece; a tap has at most one per lane.
inline constexpr int64_t kConvRunBytes = 16;

}  // namespace colonnade::kernels

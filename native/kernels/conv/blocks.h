// How a convolution's depth (channels of a group x taps) is cut: constants only, so that every
// instruction set may include it.
#pragma once

#include <cstdint>

namespace colonnade::kernels {

// Rows of a packed block: 1024 rows of 64 lanes are 256 KB, a quarter of a common L2.
#define COLONNADE_CONV_BLOCK_ROWS 1024

}  // namespace colonnade::kernels

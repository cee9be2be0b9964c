// Sparse recurrent weights: of R only the nonzeros are kept and multiplied.
//
// A tile's sums are vectors of hidden units, one a gate and block (see rnn.h); a unit is a lane. In
// a *step* of a vector, each lane takes its next nonzero, provided that its k lies in a *window* of
// kLanes - 1 consecutive elements of h. The window is one load, from which a permutation picks for
// every lane; its last lane is zero, and lanes without a nonzero in the window pick that one. So
// zeros do not multiply: NaN or infinity in h passes only through weights that are not zero. Each
// sum runs over k in rising order, as the dense one does: where h is finite the bits are the same.
//
// The vectors of a tile step side by side, each with windows of its own; one that ends early goes
// on with empty steps.
//
//   int64 begin[tiles + 1]   bytes from the start; direction by direction, phase by phase, tile by
//   tile step  uint16 start[V]               first element of the window
//         uint4  lane[V][kLanes]        element of the window
//         float  weight[V][kLanes]      V = gates x blocks of the form
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/rnn/rnn.h"

namespace colonnade::kernels {

struct SparseRecurrentGeometry {
  RecurrentKind kind;
  int64_t directions;
  int64_t hidden;
  int32_t lanes;

  // Elements of h that a window holds.
  constexpr int64_t window() const { return hidden < lanes ? hidden : lanes - 1; }
  constexpr int64_t tiles() const {
    const int64_t units = recurrent_form(kind, 0).blocks * lanes;
    return (hidden + units - 1) / units;
  }
  constexpr int64_t parts() const { return directions * phases_per_step(kind) * tiles(); }
};

constexpr int64_t sparse_step_bytes(const RecurrentForm& form, int32_t lanes) {
  return form.gates * form.blocks * (2 + lanes / 2 + 4 * lanes);
}

// r: [directions][hidden][G * hidden], as for pack_recurrent_tile. Empty when there are more hidden
// units than a start can tell.
std::vector<std::byte> pack_sparse_recurrent(const SparseRecurrentGeometry& geometry,
                                             const float* r);
// Null, or what is wrong: after this no kernel reads outside of the weights and of h.
const char* verify_sparse_recurrent(std::span<const std::byte> packed,
                                    const SparseRecurrentGeometry& geometry);

}  // namespace colonnade::kernels

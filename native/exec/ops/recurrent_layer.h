// What the adapters of recurrent layers share: parameters and operands of the layer itself.
//
// params: kind, steps, batch, hidden, directions, is_reverse of the first, is_batch_first,
// couples_gates, clip.
// operands: gates, r, hidden_bias, peepholes, lengths, h0, c0, work, y, y_h, y_c, then those of one
// adapter. Batch first: gates [batch][steps][..], y [batch][steps][directions][hidden], states
// [batch][directions][hidden]; else steps come before batch and y is [steps][directions][batch].
#pragma once

#include <string>

#include "exec/op.h"
#include "kernels/rnn/rnn.h"

namespace colonnade::exec {

constexpr size_t kGates = 0, kR = 1, kHiddenBias = 2, kPeepholes = 3, kLengths = 4, kH0 = 5,
                 kC0 = 6, kWork = 7, kY = 8, kYh = 9, kYc = 10, kLayerOperands = 11;

constexpr int64_t kRecurrentSizeMax = int64_t{1} << 40;

// Reads the params above; strides are set, pointers are null. Returns an empty string or the reason
// why they are invalid.
std::string read_recurrent_layer(PrepareContext& context, kernels::RecurrentParams& p);
// Checks every operand above but r and work.
std::string check_recurrent_layer(const PrepareContext& context, const kernels::RecurrentParams& p);
// The params with the pointers of this run; r is null.
kernels::RecurrentParams bind_recurrent_layer(const kernels::RecurrentParams& p,
                                              const RunContext& context);
// Reports a length that is not in 0..steps.
RunStatus check_recurrent_lengths(const kernels::RecurrentParams& p);

}  // namespace colonnade::exec

// A Plan as the executor runs it; the other side of src/colonnade/planner/plan.py.
//
// The words come from Python or from a file: decode_plan checks everything, so that run() can fail
// only by data. Seq nesting is flattened: what is left is a list of parallel steps,
// a Stripe being one of them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "exec/op.h"
#include "exec/stripe.h"

namespace colonnade::exec {

enum class Space : int64_t { arena = 0, constant = 1, input = 2, output = 3, window = 4 };

// A window is `index` panels at `offset` of the thread's windows; `bytes` is its whole tensor.
struct Buffer {
  Space space;
  int64_t index;
  int64_t offset;
  int64_t bytes;
};

struct Call {
  const Op* op;
  std::string label;
  std::vector<int32_t> operands;  // Buffer numbers; -1 = absent.
  Prepared prepared;
};

enum class Split : int64_t { units = 0, columns = 1, stripe = 2 };

struct Step {
  Split split;
  int64_t panels;
  std::vector<Call> calls;
  Stripe stripe;  // Of Split::stripe.
};

struct Plan {
  int64_t arena_bytes = 0;
  int64_t num_inputs = 0;
  int64_t num_outputs = 0;
  int64_t num_constants = 0;
  int64_t scratch_bytes = 0;  // Per thread: the largest of all calls.
  int64_t window_bytes = 0;   // Per thread: the largest of all stripes.
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
};

using Constant = std::span<const std::byte>;

// Fills `plan`; returns an empty string or what is wrong. The constants are read too: packed sparse
// weights hold offsets.
std::string decode_plan(std::span<const int64_t> words, std::span<const Constant> constants,
                        Isa isa, Plan& plan);

}  // namespace colonnade::exec

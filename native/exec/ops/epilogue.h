// The element-wise program that runs on rows of a panel which a product has just written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "exec/op.h"
#include "kernels/elementwise/elementwise.h"

namespace colonnade::exec {

// The product's output: features x panels.
struct EpilogueShape {
  int64_t features;
  int64_t panels;
  int64_t lanes;
  Isa isa;
};

// How an extra operand is read: planner/lower/epilogue.py.
enum class ExtraKind : int64_t { panels = 0, features = 1, scalar = 2 };

struct Epilogue {
  const kernels::ElementwiseRow* row = nullptr;
  kernels::ElementwiseProgram program;
  std::vector<ExtraKind> kinds;
  EpilogueShape shape{};
  int64_t scratch_bytes = 0;
  bool empty() const { return row == nullptr; }
};

// Reads (kinds, program) from the parameters and checks the extra operands against the shape.
// Returns an empty string or what is wrong. An empty program leaves the epilogue empty.
std::string prepare_epilogue(ParamReader& in, std::span<const OperandInfo> extras,
                             const EpilogueShape& shape, Epilogue& epilogue);

// Appends how the extra operands are used.
void add_extra_uses(const Epilogue& epilogue, std::vector<PanelUse>& uses);

// One thread's run of it; `run` is the kernels' PanelEpilogue, its context an EpilogueRun.
struct EpilogueRun {
  const Epilogue* epilogue;
  std::byte* const* extras;
  std::byte* scratch;

  static void run(void* context, float* y_rows, int64_t panel, int64_t m0, int64_t m1);
};

}  // namespace colonnade::exec

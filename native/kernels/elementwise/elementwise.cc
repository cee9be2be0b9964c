#include "kernels/elementwise/elementwise.h"

#include <algorithm>
#include <array>

namespace colonnade {

#define ELEMENTWISE_ROW(name, space, isa, lanes)                                            \
  namespace space {                                                                         \
  void name(const kernels::ElementwiseParams&, int64_t begin, int64_t end, float* scratch); \
  }
#include "kernels/elementwise/kernels.inc"
#undef ELEMENTWISE_ROW

namespace kernels {
namespace {

constexpr ElementwiseRow kRows[] = {
#define ELEMENTWISE_ROW(name, space, isa, lanes) {#name, Isa::isa, lanes, &space::name},
#include "kernels/elementwise/kernels.inc"
#undef ELEMENTWISE_ROW
};

constexpr OpcodeInfo kOpcodes[] = {
#define X(identifier, name, operands, immediates) {name, operands, immediates},
#include "kernels/elementwise/opcodes.inc"
#undef X
};

constexpr int kValues = kElementwiseInputs + kElementwiseInstructions;
constexpr int kNever = kElementwiseInstructions;  // Outputs live past the last instruction.

const char* check_program(int32_t num_inputs, std::span<const ElementwiseInstruction> instructions,
                          std::span<const uint16_t> outputs) {
  if (num_inputs < 1 || num_inputs > kElementwiseInputs) return "too many inputs, or none";
  if (instructions.size() > kElementwiseInstructions) return "too many instructions";
  if (outputs.empty() || outputs.size() > kElementwiseOutputs) return "too many outputs, or none";
  size_t num_values = static_cast<size_t>(num_inputs);
  for (const ElementwiseInstruction& instruction : instructions) {
    if (instruction.opcode >= std::size(kOpcodes)) return "unknown opcode";
    for (int i = 0; i < kOpcodes[instruction.opcode].num_operands; ++i) {
      if (instruction.operands[i] >= num_values) return "an operand is used before it is made";
    }
    ++num_values;
  }
  for (uint16_t value : outputs) {
    if (value >= num_values) return "an output is not made";
  }
  return nullptr;
}

// The last instruction that reads each value; kNever for outputs, -1 for what nobody reads.
std::array<int, kValues> find_last_reads(std::span<const ElementwiseInstruction> instructions,
                                         std::span<const uint16_t> outputs) {
  std::array<int, kValues> last_reads;
  last_reads.fill(-1);
  for (size_t idx = 0; idx < instructions.size(); ++idx) {
    const ElementwiseInstruction& instruction = instructions[idx];
    for (int i = 0; i < kOpcodes[instruction.opcode].num_operands; ++i) {
      last_reads[instruction.operands[i]] = static_cast<int>(idx);
    }
  }
  for (uint16_t value : outputs) last_reads[value] = kNever;
  return last_reads;
}

// Hands out temporaries; the lowest free one first, so that few are touched.
class TempPool {
 public:
  int take() {
    const auto slot = std::find(used_.begin(), used_.end(), false);
    if (slot == used_.end()) return -1;
    *slot = true;
    const int idx = static_cast<int>(slot - used_.begin());
    num_touched_ = std::max(num_touched_, idx + 1);
    return idx;
  }
  void give_back(int idx) { used_[static_cast<size_t>(idx)] = false; }
  int num_touched() const { return num_touched_; }

 private:
  std::array<bool, kElementwiseTemps> used_ = {};
  int num_touched_ = 0;
};

void set_outputs(int32_t num_inputs, std::span<const uint16_t> outputs,
                 std::span<const int> registers, ElementwiseProgram& program) {
  program.num_outputs = static_cast<int32_t>(outputs.size());
  for (size_t j = 0; j < outputs.size(); ++j) {
    const int step = static_cast<int>(outputs[j]) - num_inputs;
    program.outputs[j] = static_cast<uint8_t>(registers[outputs[j]]);
    program.output_steps[j] = static_cast<int8_t>(std::max(step, -1));
    if (step >= 0) program.steps[step].output = static_cast<int8_t>(j);
  }
}

}  // namespace

std::span<const OpcodeInfo> elementwise_opcodes() { return kOpcodes; }

const char* build_elementwise_program(int32_t num_inputs,
                                      std::span<const ElementwiseInstruction> instructions,
                                      std::span<const uint16_t> outputs,
                                      ElementwiseProgram& program) {
  if (const char* error = check_program(num_inputs, instructions, outputs)) return error;
  program = ElementwiseProgram{};
  program.num_inputs = num_inputs;
  program.num_steps = static_cast<int32_t>(instructions.size());
  const std::array<int, kValues> last_reads = find_last_reads(instructions, outputs);
  std::array<int, kValues> registers;
  for (int i = 0; i < num_inputs; ++i) {
    registers[static_cast<size_t>(i)] = i;
    const int last = last_reads[static_cast<size_t>(i)];
    program.last_reads[i] = static_cast<int8_t>(std::min(last, kNever - 1));
  }
  TempPool pool;
  for (size_t idx = 0; idx < instructions.size(); ++idx) {
    const ElementwiseInstruction& instruction = instructions[idx];
    const int num_operands = kOpcodes[instruction.opcode].num_operands;
    ElementwiseProgram::Step& step = program.steps[idx];
    step = {instruction.opcode, 0, {}, -1, {instruction.immediates[0], instruction.immediates[1]}};
    for (int i = 0; i < 3; ++i) {
      const size_t value = instruction.operands[i < num_operands ? i : 0];
      step.sources[i] = static_cast<uint8_t>(registers[value]);
    }
    // A source read for the last time here makes room for the result: operations work in place.
    for (int i = 0; i < num_operands; ++i) {
      const size_t value = instruction.operands[i];
      const bool repeated = std::find(instruction.operands, instruction.operands + i,
                                      instruction.operands[i]) != instruction.operands + i;
      const bool is_temp = value >= static_cast<size_t>(num_inputs);
      if (is_temp && !repeated && last_reads[value] == static_cast<int>(idx)) {
        pool.give_back(registers[value] - num_inputs);
      }
    }
    const int temp = pool.take();
    if (temp < 0) return "too many values are live at once";
    const size_t result = static_cast<size_t>(num_inputs) + idx;
    registers[result] = num_inputs + temp;
    step.target = static_cast<uint8_t>(registers[result]);
    if (last_reads[result] < 0) pool.give_back(temp);  // nobody reads it
  }
  program.num_temps = pool.num_touched();
  set_outputs(num_inputs, outputs, registers, program);
  return nullptr;
}

int64_t elementwise_units(const ElementwiseShape& shape) {
  int64_t units = (shape.cols + kElementwiseChunk - 1) / kElementwiseChunk;
  for (int d = 0; d < shape.num_row_dims; ++d) units *= shape.row_dims[d];
  return units;
}

int64_t elementwise_scratch_floats(const ElementwiseProgram& program) {
  // A block per temporary and per input that may have to be gathered or spread.
  return (program.num_temps + program.num_inputs) * kElementwiseBlock;
}

std::span<const ElementwiseRow> elementwise_rows() { return kRows; }

const ElementwiseRow& choose_elementwise(Isa isa) {
  const ElementwiseRow* best = &kRows[0];
  for (const ElementwiseRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

}  // namespace kernels
}  // namespace colonnade

// Element-wise programs: a short list of fp32 operations applied to every element of a shape.
//
//   out[j](r, c) = program(in[0](r, c), in[1](r, c), ...)
//
// The iteration space is rows x cols, and the rows have up to kElementwiseRowDims dimensions, so
// that any numpy broadcast is a choice of strides:
//
//   operand(r, c) = data[sum over d of index_d(r) * row_strides[d] + c * col_stride]
//
//   like the output        row_strides dense, col_stride 1
//   one value per row      col_stride 0 (a bias per feature of a column panel)
//   one row for all        row_strides 0, col_stride 1
//   one value in all       everything 0
//
// The interpreter runs one instruction over a block of up to kElementwiseBlock elements before the
// next, so registers stay in L1; several short rows share a block. Contiguous operands are read and
// written in place, without a copy. Comparisons give 0 or 1, conditions are "not zero".
// Transcendental operations are those of simd/math.inc; the inverse and hyperbolic ones, pow, mod
// and tan call the C library per lane. The same bits come out of every ISA, of any split of the
// units, and whatever the strides are (the C library's functions excepted: they are the machine's
// own).
//
// Aliasing: an output may be exactly one of the inputs (same data, same strides). Any other overlap
// is an error. No alignment is required. Kernels are pure: no allocation, no threads, no globals.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu_features.h"

namespace colonnade::kernels {

enum class Opcode : uint16_t {
#define X(identifier, name, operands, immediates) identifier,
#include "kernels/elementwise/opcodes.inc"
#undef X
};

struct OpcodeInfo {
  const char* name;  // As in colonnade.ir.program.ARITY.
  int32_t num_operands;
  int32_t num_immediates;
};

std::span<const OpcodeInfo> elementwise_opcodes();  // Indexed by Opcode.

inline constexpr int kElementwiseInputs = 16;
inline constexpr int kElementwiseOutputs = 4;
inline constexpr int kElementwiseInstructions = 64;
inline constexpr int kElementwiseTemps = 16;
inline constexpr int kElementwiseRowDims = 6;
inline constexpr int64_t kElementwiseBlock = 512;
inline constexpr int64_t kElementwiseChunk = 4096;

// One operation. Values are numbered: 0 .. num_inputs - 1 are the inputs, num_inputs + i is the
// result of instruction i. Unused operands and immediates are ignored.
struct ElementwiseInstruction {
  uint16_t opcode;
  uint16_t operands[3];
  float immediates[2];
};

// A checked program with registers: what the kernels run. Made by build_elementwise_program.
struct ElementwiseProgram {
  struct Step {
    uint16_t opcode;
    uint8_t target;      // Registers: inputs first, then temporaries.
    uint8_t sources[3];  // Unused ones repeat a used one.
    int8_t output;       // Number of the output that this result is, or -1.
    float immediates[2];
  };
  int32_t num_inputs = 0;
  int32_t num_outputs = 0;
  int32_t num_steps = 0;
  int32_t num_temps = 0;
  uint8_t outputs[kElementwiseOutputs] = {};      // The register of each output.
  int8_t output_steps[kElementwiseOutputs] = {};  // The step that makes it; -1 for an input.
  int8_t last_reads[kElementwiseInputs] = {};     // The last step that reads an input, or -1.
  Step steps[kElementwiseInstructions] = {};
};

// Assigns registers by lifetime. Returns null, or what is wrong with the instructions.
const char* build_elementwise_program(int32_t num_inputs,
                                      std::span<const ElementwiseInstruction> instructions,
                                      std::span<const uint16_t> outputs,
                                      ElementwiseProgram& program);

struct ElementwiseShape {
  int32_t num_row_dims;                   // 0 .. kElementwiseRowDims.
  int64_t row_dims[kElementwiseRowDims];  // Outermost first.
  int64_t cols;
};

enum class ElementType : uint8_t {
  float32 = 0,
  boolean = 3,  // One byte; read as 0 or 1, written as "not zero".
};

struct ElementwiseOperand {
  const void* data;
  int64_t row_strides[kElementwiseRowDims];  // In elements, one per row dimension.
  int64_t col_stride;                        // 1 is fast, 0 faster; others are gathered.
  ElementType type;
};

// The columns of a row follow each other, and the rows do not overlap.
struct ElementwiseResult {
  void* data;
  int64_t row_strides[kElementwiseRowDims];
  ElementType type;
};

struct ElementwiseParams {
  const ElementwiseProgram* program;
  ElementwiseShape shape;
  const ElementwiseOperand* inputs;  // program->num_inputs of them.
  const ElementwiseResult* outputs;  // program->num_outputs of them.
};

// Work is dealt in units: chunks of kElementwiseChunk columns of a row, row by row. With
// cols <= kElementwiseChunk a unit is a row.
int64_t elementwise_units(const ElementwiseShape& shape);

// Floats of scratch per thread.
int64_t elementwise_scratch_floats(const ElementwiseProgram& program);

struct ElementwiseRow {
  const char* name;
  Isa isa;
  int32_t lanes;
  // Computes units [begin, end). `scratch` is 64-byte aligned and private to the thread.
  void (*run)(const ElementwiseParams&, int64_t begin, int64_t end, float* scratch);
};

std::span<const ElementwiseRow> elementwise_rows();
// The best row that `isa` can run. Never fails.
const ElementwiseRow& choose_elementwise(Isa isa);

}  // namespace colonnade::kernels

// Adapter of the elementwise family.
#include "kernels/elementwise/elementwise.h"

#include <bit>
#include <vector>

#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/program.h"

namespace colonnade::exec {

using kernels::ElementType;
using kernels::ElementwiseInstruction;
using kernels::ElementwiseOperand;
using kernels::ElementwiseParams;
using kernels::ElementwiseProgram;
using kernels::ElementwiseResult;
using kernels::ElementwiseRow;
using kernels::ElementwiseShape;

std::string read_program(std::span<const int64_t> words, ElementwiseProgram& program) {
  constexpr size_t kWords = 6;  // Of an instruction: opcode, three operands, two immediates.
  if (words.empty() || words.size() % kWords != 1) return "program has the wrong length";
  if (words[0] < 1 || words[0] > kernels::kElementwiseInputs) return "program has too many inputs";
  const size_t count = words.size() / kWords;
  if (count < 1 || count > kernels::kElementwiseInstructions) return "program is too long";
  std::vector<ElementwiseInstruction> instructions;
  for (size_t i = 1; i < words.size(); i += kWords) {
    for (size_t j = 0; j < 4; ++j) {
      if (words[i + j] < 0 || words[i + j] > 0xffff) return "program word out of range";
    }
    ElementwiseInstruction ins{};
    ins.opcode = static_cast<uint16_t>(words[i]);
    for (size_t j = 0; j < 3; ++j) ins.operands[j] = static_cast<uint16_t>(words[i + 1 + j]);
    for (size_t j = 0; j < 2; ++j) {
      ins.immediates[j] = static_cast<float>(std::bit_cast<double>(words[i + 4 + j]));
    }
    instructions.push_back(ins);
  }
  const auto result = static_cast<uint16_t>(words[0] + static_cast<int64_t>(count) - 1);
  const char* error = kernels::build_elementwise_program(static_cast<int32_t>(words[0]),
                                                         instructions, {&result, 1}, program);
  return error == nullptr ? "" : error;
}

namespace {

// operands: inputs..., output. params: program, dims (rows... then columns), strides (of each
// operand over all dims), element types of the operands, is_columns (dims[0] are panels).
struct Elementwise {
  const ElementwiseRow* row;
  ElementwiseProgram program;
  ElementwiseShape shape;
  ElementwiseOperand inputs[kernels::kElementwiseInputs];
  ElementwiseResult output;
};

// Elements that a walk from 0 spans, or -1.
int64_t span_of(std::span<const int64_t> dims, std::span<const int64_t> strides) {
  int64_t last = 0;
  for (size_t d = 0; d < dims.size(); ++d) {
    const int64_t reach = checked_product({dims[d] - 1, strides[d]});
    if (reach < 0 || last + reach > (int64_t{1} << 60)) return -1;
    last += reach;
  }
  return last + 1;
}

// dims[0] are panels: an operand that steps from one to the next stays inside each.
PanelUse panel_use(std::span<const int64_t> dims, std::span<const int64_t> walk, int64_t itemsize,
                   bool is_written) {
  const int64_t step = walk[0];
  if (step < 1 || span_of(dims.subspan(1), walk.subspan(1)) > step) return {{}, is_written, 0};
  return {Access::same, is_written, step * itemsize};
}

bool is_type(int64_t code) {
  return code == static_cast<int64_t>(ElementType::float32) ||
         code == static_cast<int64_t>(ElementType::boolean);
}

std::string prepare_elementwise(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Elementwise>();
  p->row = &kernels::choose_elementwise(context.isa);
  ParamReader& in = context.params;
  if (std::string error = read_program(in.list(), p->program); !error.empty()) return error;
  const auto dims = in.list();
  const auto strides = in.list();
  const auto types = in.list();
  const bool is_columns = in.integer() != 0;
  const auto inputs = static_cast<size_t>(p->program.num_inputs);
  if (context.operands.size() != inputs + 1) return "number of operands differs from the program's";
  if (dims.empty() || dims.size() > kernels::kElementwiseRowDims + 1) return "too many axes";
  if (strides.size() != (inputs + 1) * dims.size()) return "number of strides differs";
  if (types.size() != inputs + 1) return "number of element types differs";
  if (checked_product({1, dims[0]}) < 1) return "axes out of range";
  int64_t elements = 1;
  for (const int64_t dim : dims) {
    elements = dim < 1 ? -1 : checked_product({elements, dim});
    if (elements < 1) return "axes out of range";
  }
  const size_t row_dims = dims.size() - 1;
  p->shape.num_row_dims = static_cast<int32_t>(row_dims);
  p->shape.cols = dims[row_dims];
  for (size_t d = 0; d < row_dims; ++d) p->shape.row_dims[d] = dims[d];
  for (size_t i = 0; i <= inputs; ++i) {
    const auto walk = strides.subspan(i * dims.size(), dims.size());
    if (!is_type(types[i])) return "element type is neither float32 nor bool";
    const auto type = static_cast<ElementType>(types[i]);
    const int64_t itemsize = type == ElementType::float32 ? 4 : 1;
    const int64_t span = span_of(dims, walk);
    if (span < 0 || context.operands[i].bytes / itemsize < span) return "an operand is too small";
    if (is_columns) prepared.uses.push_back(panel_use(dims, walk, itemsize, i == inputs));
    int64_t* row_strides = i < inputs ? p->inputs[i].row_strides : p->output.row_strides;
    for (size_t d = 0; d < row_dims; ++d) row_strides[d] = walk[d];
    const int64_t col_stride = walk[row_dims];
    if (col_stride != 1 && (i == inputs ? p->shape.cols > 1 : col_stride != 0)) {
      return "column stride out of range";
    }
    if (i < inputs) {
      p->inputs[i].col_stride = col_stride;
      p->inputs[i].type = type;
    } else {
      p->output.type = type;
    }
  }
  prepared.units = kernels::elementwise_units(p->shape);
  if (is_columns) prepared.units_per_panel = prepared.units / dims[0];
  prepared.scratch_bytes = 4 * kernels::elementwise_scratch_floats(p->program);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_elementwise(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Elementwise*>(params);
  ElementwiseOperand inputs[kernels::kElementwiseInputs];
  const auto count = static_cast<size_t>(p.program.num_inputs);
  for (size_t i = 0; i < count; ++i) {
    inputs[i] = p.inputs[i];
    inputs[i].data = context.operands[i];
  }
  ElementwiseResult output = p.output;
  output.data = context.operands[count];
  const ElementwiseParams call{&p.program, p.shape, inputs, &output};
  p.row->run(call, context.begin, context.end, reinterpret_cast<float*>(context.scratch));
  return {};
}

constexpr Op kOps[] = {{"elementwise", &prepare_elementwise, &run_elementwise, kLast}};

}  // namespace

std::span<const Op> elementwise_ops() { return kOps; }

}  // namespace colonnade::exec

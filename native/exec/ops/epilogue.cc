#include "exec/ops/epilogue.h"

#include "exec/ops/check.h"
#include "exec/ops/program.h"

namespace colonnade::exec {

using kernels::ElementType;
using kernels::ElementwiseOperand;
using kernels::ElementwiseParams;
using kernels::ElementwiseResult;
using kernels::ElementwiseShape;

std::string prepare_epilogue(ParamReader& in, std::span<const OperandInfo> extras,
                             const EpilogueShape& shape, Epilogue& epilogue) {
  const auto kinds = in.list();
  const auto words = in.list();
  if (words.empty()) return kinds.empty() && extras.empty() ? "" : "extra operands, no program";
  if (std::string error = read_program(words, epilogue.program); !error.empty()) return error;
  const size_t inputs = static_cast<size_t>(epilogue.program.num_inputs);
  if (kinds.size() != extras.size() || inputs != extras.size() + 1) {
    return "number of epilogue operands differs from the program's";
  }
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] < 0 || kinds[i] > 2) return "unknown kind of epilogue operand";
    const auto kind = static_cast<ExtraKind>(kinds[i]);
    const int64_t needed = kind == ExtraKind::panels
                               ? checked_product({shape.panels, shape.features, shape.lanes})
                           : kind == ExtraKind::features ? shape.features
                                                         : 1;
    if (!holds_floats(extras[i], needed)) return "an epilogue operand is too small";
    epilogue.kinds.push_back(kind);
  }
  epilogue.shape = shape;
  epilogue.row = &kernels::choose_elementwise(shape.isa);
  epilogue.scratch_bytes = 4 * kernels::elementwise_scratch_floats(epilogue.program);
  return "";
}

void add_extra_uses(const Epilogue& epilogue, std::vector<PanelUse>& uses) {
  const EpilogueShape& shape = epilogue.shape;
  for (const ExtraKind kind : epilogue.kinds) {
    const bool is_panels = kind == ExtraKind::panels;
    uses.push_back(is_panels ? read_same(shape.features * shape.lanes) : PanelUse{});
  }
}

void EpilogueRun::run(void* context, float* y_rows, int64_t panel, int64_t m0, int64_t m1) {
  const auto& self = *static_cast<const EpilogueRun*>(context);
  const Epilogue& e = *self.epilogue;
  const int64_t lanes = e.shape.lanes;
  ElementwiseOperand inputs[kernels::kElementwiseInputs] = {};
  inputs[0] = {y_rows, {lanes}, 1, ElementType::float32};
  for (size_t i = 0; i < e.kinds.size(); ++i) {
    const auto* data = reinterpret_cast<const float*>(self.extras[i]);
    ElementwiseOperand& operand = inputs[i + 1];
    switch (e.kinds[i]) {
      case ExtraKind::panels:
        operand = {
            data + (panel * e.shape.features + m0) * lanes, {lanes}, 1, ElementType::float32};
        break;
      case ExtraKind::features:
        operand = {data + m0, {1}, 0, ElementType::float32};
        break;
      case ExtraKind::scalar:
        operand = {data, {0}, 0, ElementType::float32};
        break;
    }
  }
  const ElementwiseShape shape{1, {m1 - m0}, lanes};
  const ElementwiseResult output{y_rows, {lanes}, ElementType::float32};
  const ElementwiseParams params{&e.program, shape, inputs, &output};
  e.row->run(params, 0, m1 - m0, reinterpret_cast<float*>(self.scratch));
}

}  // namespace colonnade::exec

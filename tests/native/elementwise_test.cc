// Element-wise programs on every ISA of this machine: each operation against float64, and whole
// programs over random shapes, strides, aliases and splits against the same operations one by one.
#include "kernels/elementwise/elementwise.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "ulp.h"

namespace colonnade::kernels {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Oracle = std::function<double(double a, double b, double c, float p, float q)>;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double clip(double x, double low, double high) {
  return std::isnan(x) ? x : std::min(std::max(x, low), high);
}
double elu(double x, double alpha) { return x > 0 ? x : alpha * std::expm1(x); }
double python_mod(double a, double b) {
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
double nan_or(double a, double b, double value) {
  return std::isnan(a) || std::isnan(b) ? std::nan("") : value;
}

#define ORACLE [](double a, double b, double c, float p, float q) -> double
#define UNUSED (void)a, (void)b, (void)c, (void)p, (void)q
#define FN(name, expression) \
  {name, ORACLE{UNUSED;      \
  return expression;         \
  }                          \
  }

const std::map<std::string, Oracle> kOracles = {
    FN("abs", std::abs(a)),
    FN("neg", -a),
    FN("sqrt", std::sqrt(a)),
    FN("rsqrt", 1.0 / std::sqrt(a)),
    FN("reciprocal", 1.0 / a),
    FN("exp", std::exp(a)),
    FN("log", std::log(a)),
    FN("erf", std::erf(a)),
    FN("tanh", std::tanh(a)),
    FN("sigmoid", sigmoid(a)),
    FN("relu", std::isnan(a) ? a : std::max(a, 0.0)),
    FN("softplus", softplus(a)),
    FN("softsign", a / (1.0 + std::abs(a))),
    FN("hardswish", a* clip(a / 6.0 + 0.5, 0.0, 1.0)),
    FN("silu", a* sigmoid(a)),
    FN("mish", a* std::tanh(softplus(a))),
    FN("gelu_erf", 0.5 * a * std::erfc(-a * std::sqrt(0.5))),
    FN("gelu_tanh", a* sigmoid(std::sqrt(8.0 / kPi) * (a + 0.044715 * a * a * a))),
    FN("floor", std::floor(a)),
    FN("ceil", std::ceil(a)),
    FN("round", std::nearbyint(a)),
    FN("sign", a > 0   ? 1.0
               : a < 0 ? -1.0
                       : a),
    FN("sin", std::sin(a)),
    FN("cos", std::cos(a)),
    FN("tan", std::tan(a)),
    FN("asin", std::asin(a)),
    FN("acos", std::acos(a)),
    FN("atan", std::atan(a)),
    FN("sinh", std::sinh(a)),
    FN("cosh", std::cosh(a)),
    FN("asinh", std::asinh(a)),
    FN("acosh", std::acosh(a)),
    FN("atanh", std::atanh(a)),
    FN("not", a == 0),
    FN("isnan", std::isnan(a)),
    FN("isinf", std::isinf(a)),
    FN("leaky_relu", a < 0 ? p * a : a),
    FN("elu", elu(a, p)),
    FN("celu", a > 0 ? a : p * std::expm1(a / p)),
    FN("thresholded_relu", a > p ? a : 0.0),
    FN("hardsigmoid", clip(static_cast<double>(p) * a + q, 0.0, 1.0)),
    FN("selu", q* elu(a, p)),
    FN("clip", clip(a, p, q)),
    FN("add", a + b),
    FN("sub", a - b),
    FN("mul", a* b),
    FN("div", a / b),
    FN("min", nan_or(a, b, std::min(a, b))),
    FN("max", nan_or(a, b, std::max(a, b))),
    FN("pow", std::pow(a, b)),
    FN("mod", python_mod(a, b)),
    FN("fmod", std::fmod(a, b)),
    FN("prelu", a < 0 ? a * b : a),
    FN("gt", a > b),
    FN("ge", a >= b),
    FN("lt", a < b),
    FN("le", a <= b),
    FN("eq", a == b),
    FN("and", a != 0 && b != 0),
    FN("or", a != 0 || b != 0),
    FN("xor", (a != 0) != (b != 0)),
    FN("where", a != 0 ? b : c),
    FN("fma", a* b + c),
};

// Operations whose formula loses bits by cancellation: the bound is absolute, in units of the last
// place of the largest term.
double tolerance(const std::string& name, double exact, double a, double b) {
  double size = std::abs(exact);
  if (name == "fma") size = std::max(size, std::abs(a * b));
  if (name == "hardsigmoid" || name == "hardswish") size = std::max(size, std::abs(a));
  if (name == "mod") size = std::max(size, std::abs(b));
  return 4.0 * std::ldexp(std::max(size, 0x1p-126), -23);
}

class AlignedFloats {
 public:
  explicit AlignedFloats(int64_t count)
      : data_(static_cast<float*>(
            std::aligned_alloc(64, static_cast<size_t>(count + 16) / 16 * 64))) {}
  ~AlignedFloats() { std::free(data_); }
  AlignedFloats(const AlignedFloats&) = delete;
  AlignedFloats& operator=(const AlignedFloats&) = delete;
  float* data() { return data_; }

 private:
  float* data_;
};

std::vector<const ElementwiseRow*> available_rows() {
  const Isa best = best_isa(detect_cpu_features());
  std::vector<const ElementwiseRow*> rows;
  for (const ElementwiseRow& row : elementwise_rows()) {
    if (row.isa <= best) rows.push_back(&row);
  }
  return rows;
}

void run(const ElementwiseRow& row, const ElementwiseParams& params, int64_t begin, int64_t end) {
  AlignedFloats scratch(elementwise_scratch_floats(*params.program));
  row.run(params, begin, end, scratch.data());
}

// One operation on flat arrays.
std::vector<float> apply(const ElementwiseRow& row, const ElementwiseInstruction& instruction,
                         const std::vector<const std::vector<float>*>& operands) {
  ElementwiseInstruction numbered = instruction;
  for (uint16_t i = 0; i < 3; ++i) numbered.operands[i] = i;
  ElementwiseProgram program;
  const auto result = static_cast<uint16_t>(operands.size());
  const char* error = build_elementwise_program(static_cast<int32_t>(operands.size()),
                                                {&numbered, 1}, {&result, 1}, program);
  EXPECT(error == nullptr);
  std::vector<float> y(operands[0]->size());
  std::vector<ElementwiseOperand> inputs;
  for (const auto* operand : operands) {
    inputs.push_back({operand->data(), {}, 1, ElementType::float32});
  }
  const ElementwiseResult output = {y.data(), {}, ElementType::float32};
  const ElementwiseShape shape = {0, {}, static_cast<int64_t>(y.size())};
  const ElementwiseParams params = {&program, shape, inputs.data(), &output};
  run(row, params, 0, elementwise_units(shape));
  return y;
}

std::vector<float> sample_values() {
  std::vector<float> values = {0.0f,       -0.0f, 0x1p-149f, -0x1p-149f, 0x1p-126f, -0x1p-126f,
                               0.5f,       -0.5f, 1.0f,      -1.0f,      1.5f,      2.5f,
                               -2.5f,      3.0f,  -3.0f,     88.0f,      -88.0f,    120.0f,
                               -120.0f,    1e10f, -1e10f,    3.4e38f,    -3.4e38f,  kInfinity,
                               -kInfinity, kNan,  1e6f,      -1e6f};
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  for (int i = 0; i < 300; ++i) values.push_back(normal(random));
  return values;
}

void test_operation(const ElementwiseRow& row, uint16_t opcode) {
  const OpcodeInfo& info = elementwise_opcodes()[opcode];
  const auto oracle = kOracles.find(info.name);
  if (!EXPECT(oracle != kOracles.end())) return;
  const std::vector<float> values = sample_values();
  const ElementwiseInstruction instruction = {opcode, {}, {0.7f, 1.3f}};
  // Operand j is the list of values rotated by a stride of its own.
  for (size_t turn = 0; turn < (info.num_operands == 1 ? 1u : values.size()); turn += 3) {
    std::vector<float> operands[3] = {values, values, values};
    for (size_t i = 0; i < values.size(); ++i) {
      operands[1][i] = values[(i + turn) % values.size()];
      operands[2][i] = values[(i + 5 * turn + 1) % values.size()];
    }
    std::vector<const std::vector<float>*> used;
    for (int j = 0; j < info.num_operands; ++j) used.push_back(&operands[j]);
    const std::vector<float> y = apply(row, instruction, used);
    for (size_t i = 0; i < y.size(); ++i) {
      const double a = operands[0][i], b = operands[1][i], c = operands[2][i];
      double exact = oracle->second(a, b, c, 0.7f, 1.3f);
      if (info.num_operands == 1 && std::isnan(a) && std::strcmp(info.name, "isnan") != 0 &&
          std::strcmp(info.name, "isinf") != 0 && std::strcmp(info.name, "not") != 0 &&
          std::strcmp(info.name, "thresholded_relu") != 0) {
        exact = a;
      }
      const bool near = std::abs(y[i] - exact) <= tolerance(info.name, exact, a, b) ||
                        test::ulp_distance(y[i], exact) <= 4.0;
      if (!EXPECT(std::isnan(exact) ? std::isnan(y[i]) : near)) {
        std::printf("  %s %s(%g, %g, %g) = %.9g, not %.9g\n", row.name, info.name, a, b, c, y[i],
                    exact);
      }
    }
  }
}

// An operand of a random program: its own storage, and where each element of the shape lies.
struct TestOperand {
  std::vector<float> storage;
  std::vector<uint8_t> bytes;
  ElementwiseOperand operand;
};

int64_t num_rows(const ElementwiseShape& shape) {
  return std::accumulate(shape.row_dims, shape.row_dims + shape.num_row_dims, int64_t{1},
                         std::multiplies<>());
}

int64_t offset_of(const int64_t* strides, const ElementwiseShape& shape, int64_t row) {
  int64_t offset = 0;
  for (int d = shape.num_row_dims - 1; d >= 0; --d) {
    offset += row % shape.row_dims[d] * strides[d];
    row /= shape.row_dims[d];
  }
  return offset;
}

void set_dense(int64_t* strides, const ElementwiseShape& shape, int64_t gap) {
  int64_t stride = shape.cols + gap;
  for (int d = shape.num_row_dims - 1; d >= 0; --d) {
    strides[d] = stride;
    stride *= shape.row_dims[d];
  }
}

class ProgramCase {
 public:
  explicit ProgramCase(uint32_t seed) : seed_(seed), random_(seed) {
    make_shape();
    make_instructions();
    const int num_inputs = pick(1, 5);
    for (int i = 0; i < num_inputs; ++i) make_input();
    number_values();
  }

  void check(const ElementwiseRow& row) {
    ElementwiseProgram program;
    const char* error = build_elementwise_program(static_cast<int32_t>(inputs_.size()),
                                                  instructions_, outputs_, program);
    if (!EXPECT(error == nullptr)) return;
    const std::vector<std::vector<float>> expected = evaluate_one_by_one(row);
    std::vector<ElementwiseOperand> operands;
    std::vector<std::vector<float>> copies;  // Inputs that an output may overwrite.
    for (const TestOperand& input : inputs_) {
      operands.push_back(input.operand);
      copies.push_back(input.storage);
      if (input.operand.type == ElementType::float32) operands.back().data = copies.back().data();
    }
    std::vector<std::vector<float>> floats(outputs_.size());
    std::vector<std::vector<uint8_t>> bytes(outputs_.size());
    std::vector<ElementwiseResult> results;
    for (size_t j = 0; j < outputs_.size(); ++j) {
      results.push_back(make_output(j, operands, floats[j], bytes[j]));
    }
    const ElementwiseParams params = {&program, shape_, operands.data(), results.data()};
    run_in_pieces(row, params);
    for (size_t j = 0; j < outputs_.size(); ++j) compare(row, results[j], expected[j]);
  }

 private:
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  void make_shape() {
    shape_.num_row_dims = pick(0, 3);
    for (int d = 0; d < shape_.num_row_dims; ++d) shape_.row_dims[d] = pick(1, 7);
    const int cols[] = {1, 2, 15, 16, 17, 49, 64, 100, 255, 300, 512, 513, 1500, 4097, 9000};
    const bool big = num_rows(shape_) <= 8;
    shape_.cols = cols[pick(0, big ? 14 : 10)];
  }

  void make_instructions() {
    const auto infos = elementwise_opcodes();
    const int count = pick(0, 12);
    for (int i = 0; i < count; ++i) {
      ElementwiseInstruction instruction = {};
      instruction.opcode = static_cast<uint16_t>(pick(0, static_cast<int>(infos.size()) - 1));
      instruction.immediates[0] = 0.25f * static_cast<float>(pick(1, 8));
      instruction.immediates[1] = instruction.immediates[0] + 0.5f;
      instructions_.push_back(instruction);
    }
  }

  void number_values() {
    const auto num_inputs = static_cast<int>(inputs_.size());
    for (size_t i = 0; i < instructions_.size(); ++i) {
      for (uint16_t& operand : instructions_[i].operands) {
        operand = static_cast<uint16_t>(pick(0, num_inputs + static_cast<int>(i) - 1));
      }
    }
    const int last = num_inputs + static_cast<int>(instructions_.size()) - 1;
    outputs_.push_back(static_cast<uint16_t>(last));
    for (int extra = pick(0, 2); extra > 0; --extra) {
      outputs_.push_back(static_cast<uint16_t>(pick(0, last)));
    }
  }

  void make_input() {
    TestOperand input = {};
    ElementwiseOperand& operand = input.operand;
    const int kind = pick(0, 6);
    set_dense(operand.row_strides, shape_, kind == 1 ? pick(1, 3) : 0);
    operand.col_stride = 1;
    if (kind == 2) operand.col_stride = 0;
    if (kind == 3) std::fill_n(operand.row_strides, shape_.num_row_dims, 0);
    if (kind == 4) {
      std::fill_n(operand.row_strides, shape_.num_row_dims, 0);
      operand.col_stride = 0;
    }
    if (kind == 5 && shape_.num_row_dims > 0) {
      operand.row_strides[pick(0, shape_.num_row_dims - 1)] = 0;
    }
    if (kind == 6) {
      for (int d = 0; d < shape_.num_row_dims; ++d) operand.row_strides[d] *= 3;
      operand.col_stride = 3;
    }
    int64_t count = 1 + (shape_.cols - 1) * operand.col_stride;
    for (int d = 0; d < shape_.num_row_dims; ++d) {
      count += (shape_.row_dims[d] - 1) * operand.row_strides[d];
    }
    std::normal_distribution<float> normal(0.0f, 2.0f);
    input.storage.resize(static_cast<size_t>(count));
    for (float& value : input.storage) value = normal(random_);
    operand.type = pick(0, 5) == 0 ? ElementType::boolean : ElementType::float32;
    for (float value : input.storage) input.bytes.push_back(value > 0 ? 7 : 0);
    inputs_.push_back(std::move(input));
    ElementwiseOperand& stored = inputs_.back().operand;
    const bool is_float = stored.type == ElementType::float32;
    stored.data = is_float ? static_cast<const void*>(inputs_.back().storage.data())
                           : inputs_.back().bytes.data();
  }

  std::vector<float> materialise(const TestOperand& input) const {
    std::vector<float> values;
    for (int64_t row = 0; row < num_rows(shape_); ++row) {
      const int64_t offset = offset_of(input.operand.row_strides, shape_, row);
      for (int64_t col = 0; col < shape_.cols; ++col) {
        const auto at = static_cast<size_t>(offset + col * input.operand.col_stride);
        const bool is_float = input.operand.type == ElementType::float32;
        values.push_back(is_float ? input.storage[at] : input.bytes[at] != 0 ? 1.0f : 0.0f);
      }
    }
    return values;
  }

  std::vector<std::vector<float>> evaluate_one_by_one(const ElementwiseRow& row) const {
    std::vector<std::vector<float>> values;
    for (const TestOperand& input : inputs_) values.push_back(materialise(input));
    for (const ElementwiseInstruction& instruction : instructions_) {
      std::vector<const std::vector<float>*> operands;
      for (int i = 0; i < elementwise_opcodes()[instruction.opcode].num_operands; ++i) {
        operands.push_back(&values[instruction.operands[i]]);
      }
      values.push_back(apply(row, instruction, operands));
    }
    std::vector<std::vector<float>> expected;
    for (uint16_t value : outputs_) expected.push_back(values[value]);
    return expected;
  }

  // Often in the place of an input that is laid out alike, and not taken yet.
  ElementwiseResult make_output(size_t idx, std::vector<ElementwiseOperand>& operands,
                                std::vector<float>& floats, std::vector<uint8_t>& bytes) {
    ElementwiseResult result = {};
    const ElementwiseOperand& first = operands[idx % operands.size()];
    ElementwiseResult dense = {};
    set_dense(dense.row_strides, shape_, 0);
    const bool alike =
        idx < operands.size() && first.type == ElementType::float32 && first.col_stride == 1 &&
        std::equal(first.row_strides, first.row_strides + shape_.num_row_dims, dense.row_strides);
    if (alike && pick(0, 1) == 0) {
      dense.data = const_cast<void*>(first.data);
      dense.type = ElementType::float32;
      return dense;
    }
    const int64_t gap = pick(0, 2) == 0 ? 5 : 0;
    set_dense(result.row_strides, shape_, gap);
    const auto count = static_cast<size_t>(num_rows(shape_) * (shape_.cols + gap));
    result.type = pick(0, 3) == 0 ? ElementType::boolean : ElementType::float32;
    if (result.type == ElementType::float32) {
      floats.assign(count, kNan);
      result.data = floats.data();
    } else {
      bytes.assign(count, 99);
      result.data = bytes.data();
    }
    return result;
  }

  void run_in_pieces(const ElementwiseRow& row, const ElementwiseParams& params) {
    const int64_t units = elementwise_units(params.shape);
    const int64_t step = pick(1, static_cast<int>(units));
    for (int64_t begin = 0; begin < units; begin += step) {
      run(row, params, begin, std::min(units, begin + step));
    }
  }

  void compare(const ElementwiseRow& row, const ElementwiseResult& result,
               const std::vector<float>& expected) {
    size_t i = 0;
    for (int64_t r = 0; r < num_rows(shape_); ++r) {
      const int64_t offset = offset_of(result.row_strides, shape_, r);
      for (int64_t c = 0; c < shape_.cols; ++c, ++i) {
        const bool is_float = result.type == ElementType::float32;
        const bool same =
            is_float
                ? test::is_same(static_cast<const float*>(result.data)[offset + c], expected[i])
                : static_cast<const uint8_t*>(result.data)[offset + c] == (expected[i] != 0.0f);
        if (!EXPECT(same)) {
          std::printf("  %s, seed %u, row %lld, column %lld\n", row.name, seed_,
                      static_cast<long long>(r), static_cast<long long>(c));
          return;
        }
      }
    }
  }

  uint32_t seed_;
  std::mt19937 random_;
  ElementwiseShape shape_ = {};
  std::vector<ElementwiseInstruction> instructions_;
  std::vector<uint16_t> outputs_;
  std::vector<TestOperand> inputs_;
};

void test_isas_agree() {
  const std::vector<const ElementwiseRow*> rows = available_rows();
  const std::vector<float> values = sample_values();
  std::vector<float> reversed(values.rbegin(), values.rend());
  for (uint16_t opcode = 0; opcode < elementwise_opcodes().size(); ++opcode) {
    const ElementwiseInstruction instruction = {opcode, {}, {0.7f, 1.3f}};
    std::vector<const std::vector<float>*> operands = {&values, &reversed, &values};
    operands.resize(static_cast<size_t>(elementwise_opcodes()[opcode].num_operands));
    const std::vector<float> first = apply(*rows[0], instruction, operands);
    for (const ElementwiseRow* row : rows) {
      const std::vector<float> other = apply(*row, instruction, operands);
      bool same = true;
      for (size_t i = 0; i < first.size(); ++i) same &= test::is_same(first[i], other[i]);
      if (!EXPECT(same)) std::printf("  %s %s\n", row->name, elementwise_opcodes()[opcode].name);
    }
  }
}

void test_bad_programs_are_refused() {
  ElementwiseProgram program;
  const auto add = static_cast<uint16_t>(Opcode::add);
  const uint16_t result = 2;
  const auto build = [&](int32_t num_inputs, std::vector<ElementwiseInstruction> instructions,
                         std::vector<uint16_t> outputs) {
    return build_elementwise_program(num_inputs, instructions, outputs, program);
  };
  EXPECT(build(2, {{add, {0, 1, 0}, {}}}, {result}) == nullptr);
  EXPECT(build(0, {}, {0}) != nullptr);
  EXPECT(build(kElementwiseInputs + 1, {}, {0}) != nullptr);
  EXPECT(build(2, {{add, {0, 2, 0}, {}}}, {result}) != nullptr);
  EXPECT(build(2, {{999, {0, 1, 0}, {}}}, {result}) != nullptr);
  EXPECT(build(2, {{add, {0, 1, 0}, {}}}, {3}) != nullptr);
  EXPECT(build(2, {{add, {0, 1, 0}, {}}}, {}) != nullptr);
  EXPECT(build(1, std::vector<ElementwiseInstruction>(65, {add, {0, 0, 0}, {}}), {1}) != nullptr);
  // Every value is read again at the end: too many live ones.
  std::vector<ElementwiseInstruction> wide(20, {add, {0, 0, 0}, {}});
  for (uint16_t i = 0; i < 20; ++i) wide.push_back({add, {static_cast<uint16_t>(1 + i), 0, 0}, {}});
  EXPECT(build(1, wide, {1}) != nullptr);
}

}  // namespace
}  // namespace colonnade::kernels

int main() {
  using namespace colonnade::kernels;
  for (const ElementwiseRow* row : available_rows()) {
    for (uint16_t opcode = 0; opcode < elementwise_opcodes().size(); ++opcode) {
      test_operation(*row, opcode);
    }
    for (uint32_t seed = 0; seed < 400; ++seed) ProgramCase(seed).check(*row);
  }
  test_isas_agree();
  test_bad_programs_are_refused();
  return colonnade::test::finish();
}

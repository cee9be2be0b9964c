// Adapters of products of two 8-bit activations (kernels/pair_product/pair_product.h).
#include "kernels/pair_product/pair_product.h"

#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/grid.h"

namespace colonnade::exec {
namespace {

using kernels::PairAttentionParams;
using kernels::PairMatmulParams;
using kernels::PairProductRow;
using kernels::ScoreStep;
using kernels::ScoreStepKind;

constexpr int64_t kMaxExtent = int64_t{1} << 31;
constexpr uint8_t kSignedShift = 128;

bool holds_bytes(const OperandInfo& operand, int64_t count) {
  return operand.present() && count >= 0 && operand.bytes >= count;
}

// ---- qmatmul_rows. operands: a, b, a_scale, a_zero, b_scale, b_zero, y_scale, y_zero, y. params:
// m, n, k, which of a, b and y are int8, batch offsets of a, of b (tuples of equal length). y is
// [batch][m][n], bytes where y_scale is there, else float32.
constexpr size_t kA = 0, kB = 1, kAScale = 2, kAZero = 3, kBScale = 4, kBZero = 5, kYScale = 6,
                 kYZero = 7, kY = 8, kMatmulOperands = 9;

struct Matmul {
  const PairProductRow* row;
  PairMatmulParams params;
  std::vector<int64_t> a_offsets;
  std::vector<int64_t> b_offsets;
  int64_t panels;
};

std::string check_matmul(const Matmul& mm, std::span<const OperandInfo> o) {
  const PairMatmulParams& p = mm.params;
  const int64_t a_items = checked_product({p.m, p.k}), b_items = checked_product({p.k, p.n});
  const auto batch = static_cast<int64_t>(mm.a_offsets.size());
  const int64_t made = checked_product({batch, p.m, p.n});
  if (a_items < 0 || b_items < 0 || made < 0) return "product is too large";
  for (size_t i = 0; i < mm.a_offsets.size(); ++i) {
    const int64_t a = mm.a_offsets[i], b = mm.b_offsets[i];
    if (a < 0 || a > kMaxExtent * kMaxExtent || !holds_bytes(o[kA], a + a_items)) {
      return "a is too small";
    }
    if (b < 0 || b > kMaxExtent * kMaxExtent || !holds_bytes(o[kB], b + b_items)) {
      return "b is too small";
    }
  }
  for (const size_t scale : {kAScale, kBScale, kYScale}) {
    if (scale == kYScale && !o[scale].present()) continue;
    if (!holds_floats(o[scale], 1) || !holds_bytes(o[scale + 1], 1)) return "a scale is too small";
  }
  const bool fits = o[kYScale].present() ? holds_bytes(o[kY], made) : holds_floats(o[kY], made);
  return fits ? "" : "y is too small";
}

std::string prepare_matmul(PrepareContext& context, Prepared& prepared) {
  auto mm = std::make_shared<Matmul>();
  mm->row = &kernels::choose_pair_product(context.isa);
  ParamReader& in = context.params;
  PairMatmulParams& p = mm->params = {};
  for (int64_t* size : {&p.m, &p.n, &p.k}) {
    *size = in.integer();
    if (*size < 1 || *size > kMaxExtent) return "product sizes out of range";
  }
  if (p.k > kernels::kPairDepthMax) return "sums that may not fit 32 bits";
  for (uint8_t* flip : {&p.a.flip, &p.b.flip, &p.y_flip})
    *flip = in.integer() != 0 ? kSignedShift : 0;
  for (const int64_t offset : in.list()) mm->a_offsets.push_back(offset);
  for (const int64_t offset : in.list()) mm->b_offsets.push_back(offset);
  const auto batch = static_cast<int64_t>(mm->a_offsets.size());
  if (batch < 1 || mm->b_offsets.size() != mm->a_offsets.size()) return "batch differs";
  if (context.operands.size() != kMatmulOperands) return "qmatmul_rows takes 9 operands";
  const std::string error = check_matmul(*mm, context.operands);
  if (!error.empty()) return error;
  mm->panels = ceil_div(p.n, mm->row->panel_lanes);
  prepared.units = batch * mm->panels;
  prepared.scratch_bytes = kernels::pair_matmul_scratch_bytes(p.k, mm->row->panel_lanes);
  prepared.params = std::move(mm);
  return "";
}

uint8_t read_zero(const RunContext& context, size_t operand, uint8_t flip) {
  return *as<uint8_t>(context, operand) ^ flip;
}

RunStatus run_matmul(const void* params, const RunContext& context) {
  const auto& mm = *static_cast<const Matmul*>(params);
  PairMatmulParams p = mm.params;
  p.a.zero = read_zero(context, kAZero, p.a.flip);
  p.b.zero = read_zero(context, kBZero, p.b.flip);
  p.scale = *as<float>(context, kAScale) * *as<float>(context, kBScale);
  const bool is_bytes = context.operands[kYScale] != nullptr;
  if (is_bytes)
    p.output = {true, *as<float>(context, kYScale), read_zero(context, kYZero, p.y_flip)};
  for_each_band(context.begin, context.end, mm.panels,
                [&](int64_t item, int64_t begin, int64_t end) {
                  p.a.bytes = as<uint8_t>(context, kA) + mm.a_offsets[static_cast<size_t>(item)];
                  p.b.bytes = as<uint8_t>(context, kB) + mm.b_offsets[static_cast<size_t>(item)];
                  p.y = as_mutable<float>(context, kY) + (is_bytes ? 0 : item * p.m * p.n);
                  p.y_bytes = as_mutable<uint8_t>(context, kY) + item * p.m * p.n;
                  mm.row->matmul(p, begin, end, context.scratch);
                });
  return {};
}

// ---- qattention. operands: q, k, v, mask, y. params: batch, heads, kv_heads, queries, keys,
// depth, value_depth, zero points of q, k and v, score_scale, steps (a count, then kind, value and
// zero point of each), zero_nan_rows, borders of weights, of probabilities, value_scale, border of
// y, mask strides (4); a border is whether it is there, scale, zero point.
constexpr size_t kMask = 3, kAttentionY = 4, kAttentionOperands = 5;

struct Attention {
  const PairProductRow* row;
  PairAttentionParams params;
};

std::string read_steps(ParamReader& in, PairAttentionParams& p) {
  p.step_count = in.integer();
  if (p.step_count < 0 || p.step_count > kernels::kScoreStepsMax) return "too many steps";
  for (int64_t i = 0; i < p.step_count; ++i) {
    const int64_t kind = in.integer();
    if (kind < 0 || kind > static_cast<int64_t>(ScoreStepKind::add_mask)) return "no such step";
    ScoreStep& step = p.steps[i];
    step.kind = static_cast<ScoreStepKind>(kind);
    step.value = in.real32();
    step.zero = static_cast<uint8_t>(in.integer());
  }
  return "";
}

void read_border(ParamReader& in, kernels::PairBorder& border) {
  border.is_there = in.integer() != 0;
  border.scale = in.real32();
  border.zero = static_cast<uint8_t>(in.integer());
}

std::string read_attention(ParamReader& in, PairAttentionParams& p) {
  for (int64_t* size :
       {&p.batch, &p.heads, &p.kv_heads, &p.queries, &p.keys, &p.depth, &p.value_depth}) {
    *size = in.integer();
    if (*size < 1 || *size > kMaxExtent) return "attention sizes out of range";
  }
  for (uint8_t* zero : {&p.q_zero, &p.k_zero, &p.v_zero}) {
    *zero = static_cast<uint8_t>(in.integer());
  }
  p.score_scale = in.real32();
  std::string error = read_steps(in, p);
  if (!error.empty()) return error;
  p.zero_nan_rows = in.integer() != 0;
  read_border(in, p.weight);
  read_border(in, p.probability);
  p.value_scale = in.real32();
  read_border(in, p.output);
  auto& stride = p.mask_strides;
  for (int64_t* s : {&stride.batch, &stride.head, &stride.query, &stride.key}) *s = in.integer();
  return "";
}

std::string check_mask(const PairAttentionParams& p, const OperandInfo& mask) {
  bool is_read = false;
  for (int64_t i = 0; i < p.step_count; ++i) is_read |= p.steps[i].kind == ScoreStepKind::add_mask;
  if (!mask.present()) return is_read ? "no mask to add" : "";
  const auto& stride = p.mask_strides;
  const int64_t spans[] = {
      checked_product({p.batch - 1, stride.batch}), checked_product({p.heads - 1, stride.head}),
      checked_product({p.queries - 1, stride.query}), checked_product({p.keys - 1, stride.key})};
  int64_t last = 0;
  for (const int64_t span : spans) {
    if (span < 0) return "mask strides out of range";
    last += span;
  }
  return holds_floats(mask, last + 1) ? "" : "mask is too small";
}

// Lanes of 32 bits: a group of bytes, or a float32.
bool holds_panels(const OperandInfo& operand, int64_t rows, int64_t columns, int64_t lanes) {
  return holds_floats(operand, panel_floats(rows, columns, lanes));
}

std::string check_attention(const PairAttentionParams& p, std::span<const OperandInfo> o,
                            int64_t lanes) {
  if (p.heads % p.kv_heads != 0) return "kv_heads does not divide heads";
  if (p.depth % 4 != 0 || p.value_depth % 4 != 0) return "depth is not whole byte groups";
  if (p.depth > kernels::kPairDepthMax || p.keys > kernels::kPairDepthMax) {
    return "sums that may not fit 32 bits";
  }
  if (!p.probability.is_there) return "probabilities without a scale";
  const int64_t queries = checked_product({p.batch, p.queries});
  const int64_t keys = checked_product({p.batch, p.keys});
  if (!holds_panels(o[0], p.heads * (p.depth / 4), queries, lanes)) return "q is too small";
  if (!holds_panels(o[1], p.kv_heads * (p.depth / 4), keys, lanes)) return "k is too small";
  if (!holds_panels(o[2], p.kv_heads * (p.value_depth / 4), keys, lanes)) return "v is too small";
  const int64_t rows = p.output.is_there ? p.value_depth / 4 : p.value_depth;
  if (!holds_panels(o[kAttentionY], p.heads * rows, queries, lanes)) return "y is too small";
  return check_mask(p, o[kMask]);
}

std::string prepare_attention(PrepareContext& context, Prepared& prepared) {
  auto a = std::make_shared<Attention>();
  a->row = &kernels::choose_pair_product(context.isa);
  a->params = {};
  const int64_t lanes = a->row->panel_lanes;
  std::string error = read_attention(context.params, a->params);
  if (!error.empty()) return error;
  if (context.operands.size() != kAttentionOperands) return "qattention takes 5 operands";
  error = check_attention(a->params, context.operands, lanes);
  if (!error.empty()) return error;
  prepared.units = kernels::pair_attention_units(a->params, lanes);
  prepared.scratch_bytes = kernels::pair_attention_scratch_bytes(a->params, lanes);
  prepared.params = std::move(a);
  return "";
}

RunStatus run_attention(const void* params, const RunContext& context) {
  const auto& a = *static_cast<const Attention*>(params);
  PairAttentionParams p = a.params;
  p.q = as<uint8_t>(context, 0);
  p.k = as<uint8_t>(context, 1);
  p.v = as<uint8_t>(context, 2);
  p.mask = as<float>(context, kMask);
  p.y = as_mutable<float>(context, kAttentionY);
  p.y_bytes = as_mutable<uint8_t>(context, kAttentionY);
  a.row->attention(p, context.begin, context.end, context.scratch);
  return {};
}

constexpr Op kOps[] = {
    {"qmatmul_rows", &prepare_matmul, &run_matmul, {kY, 1}},
    {"qattention", &prepare_attention, &run_attention, {kAttentionY, 1}},
};

}  // namespace

std::span<const Op> pair_product_ops() { return kOps; }

}  // namespace colonnade::exec

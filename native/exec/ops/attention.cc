// Adapter of the attention family.
#include "kernels/attention/attention.h"

#include "exec/op.h"
#include "exec/ops/check.h"

namespace colonnade::exec {
namespace {

using kernels::AttentionParams;
using kernels::AttentionRow;
using kernels::Band;

struct Attention {
  const AttentionRow* row;
  AttentionParams params;
};

Band read_band(ParamReader& in) {
  Band band;
  band.features = in.integer();
  band.first = in.integer();
  return band;
}

bool fits(const OperandInfo& operand, const Band& band, int64_t own, int64_t columns,
          int64_t lanes) {
  return band.first >= 0 && own >= 1 && band.features >= own && band.first <= band.features - own &&
         holds_floats(operand, panel_floats(band.features, columns, lanes));
}

// operands: q, k, v, mask, y. params: batch, heads, kv_heads, queries, keys, depth, value_depth,
// scale, causal, causal_offset, zero_nan_rows, bands of q, k, v, y (features, first), mask strides
// (4).
std::string prepare(PrepareContext& context, Prepared& prepared) {
  auto a = std::make_shared<Attention>();
  a->row = &kernels::choose_attention(context.isa);
  ParamReader& in = context.params;
  AttentionParams& p = a->params;
  p = {};
  for (int64_t* field :
       {&p.batch, &p.heads, &p.kv_heads, &p.queries, &p.keys, &p.depth, &p.value_depth}) {
    *field = in.integer();
    if (*field < 1 || *field > (int64_t{1} << 31)) return "attention sizes out of range";
  }
  p.scale = in.real32();
  p.causal = in.integer() != 0;
  p.causal_offset = in.integer();
  p.zero_nan_rows = in.integer() != 0;
  for (Band* band : {&p.q_band, &p.k_band, &p.v_band, &p.y_band}) *band = read_band(in);
  auto& stride = p.mask_strides;
  for (int64_t* s : {&stride.batch, &stride.head, &stride.query, &stride.key}) *s = in.integer();
  const auto& o = context.operands;
  if (o.size() != 5) return "attention takes 5 operands";
  if (p.heads % p.kv_heads != 0) return "kv_heads does not divide heads";
  const int64_t lanes = a->row->panel_lanes;
  const int64_t rows = checked_product({p.batch, p.queries});
  const int64_t columns = checked_product({p.batch, p.keys});
  if (!fits(o[0], p.q_band, p.heads * p.depth, rows, lanes)) return "q is too small";
  if (!fits(o[1], p.k_band, p.kv_heads * p.depth, columns, lanes)) return "k is too small";
  if (!fits(o[2], p.v_band, p.kv_heads * p.value_depth, columns, lanes)) return "v is too small";
  if (!fits(o[4], p.y_band, p.heads * p.value_depth, rows, lanes)) return "y is too small";
  if (o[3].present()) {
    const int64_t spans[] = {
        checked_product({p.batch - 1, stride.batch}), checked_product({p.heads - 1, stride.head}),
        checked_product({p.queries - 1, stride.query}), checked_product({p.keys - 1, stride.key})};
    int64_t last = 0;
    for (const int64_t span : spans) {
      if (span < 0) return "mask strides out of range";
      last += span;
    }
    if (!holds_floats(o[3], last + 1)) return "mask is too small";
  }
  prepared.units = kernels::attention_units(*a->row, p);
  prepared.scratch_bytes = 4 * kernels::attention_scratch_floats(*a->row, p);
  prepared.params = std::move(a);
  return "";
}

RunStatus run(const void* params, const RunContext& context) {
  const auto& a = *static_cast<const Attention*>(params);
  AttentionParams p = a.params;
  p.q = as<float>(context, 0);
  p.k = as<float>(context, 1);
  p.v = as<float>(context, 2);
  p.mask = as<float>(context, 3);
  p.y = as_mutable<float>(context, 4);
  a.row->run(p, context.begin, context.end, reinterpret_cast<float*>(context.scratch));
  return {};
}

constexpr Op kOps[] = {{"attention", &prepare, &run, {4, 1}}};

}  // namespace

std::span<const Op> attention_ops() { return kOps; }

}  // namespace colonnade::exec

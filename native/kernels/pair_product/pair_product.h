// Products of two 8-bit activations: a matrix product, and attention fused with its borders.
//
// Neither operand is packed before a run, so both are made into pairs in scratch: a lane of 32 bits
// holds two terms x - zero as 16-bit numbers, and a dot product takes pair by pair. Sums are exact
// in int32; no zero point is left to correct for. The same bits on every instruction set, for any
// split.
//
//   quantize(v) = round(min(max(v * (1 / scale), -zero), 255 - zero)) + zero, ties to even; NaN
//   gives 0 dequantize(b) = (b - zero) * scale
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "kernels/attention/attention.h"

namespace colonnade::kernels {

// Terms whose sum fits int32: 2^15 * 255^2 < 2^31.
inline constexpr int64_t kPairDepthMax = int64_t{1} << 15;
// Rows of a that are made into pairs at a time.
inline constexpr int64_t kPairRowBlock = 64;

// A scale and a zero point to quantize with; or nothing.
struct PairBorder {
  bool is_there;
  float scale;
  uint8_t zero;
};

// Rows of bytes. `flip`: 128 where they are int8, which is read as uint8, 128 more; `zero`
// likewise.
struct PairRows {
  const uint8_t* bytes;
  uint8_t flip;
  uint8_t zero;
};

// y[i, j] = float(sum over t of (a[i, t] - a_zero) * (b[t, j] - b_zero)) * scale, all row-major; as
// float32 or, where `output` is there, quantized.
struct PairMatmulParams {
  int64_t m;
  int64_t n;
  int64_t k;
  PairRows a;  // [m][k]
  PairRows b;  // [k][n]
  float scale;
  PairBorder output;
  uint8_t y_flip;
  float* y;
  uint8_t* y_bytes;
};

enum class ScoreStepKind : int64_t { requantize = 0, multiply = 1, add_mask = 2 };

// What happens to a score between its product and the softmax.
struct ScoreStep {
  ScoreStepKind kind;
  float value;   // The scale of requantize, the factor of multiply.
  uint8_t zero;  // Of requantize.
};

inline constexpr int64_t kScoreStepsMax = 8;

// Byte panels as in qmatmul.h; heads, columns and mask as in attention.h. For every head:
//
//   score[i, j] = steps(float(sum over f of (q[f, i] - q_zero) * (k[f, j] - k_zero)) * score_scale)
//   weight[i, j] = softmax over j of score[i, :]; through `weight` and back where it is there;
//       quantized by `probability`
//   y[f, i] = float(sum over j of (weight[i, j] - probability.zero) * (v[f, j] - v_zero)) *
//   value_scale,
//       as float32 panels or, where `output` is there, quantized
//
// A query without a key to see has weights NaN, or zero with `zero_nan_rows`. depth and value_depth
// are whole byte groups. A unit is as in attention.h; scratch grows with the keys, for a softmax
// must be finished before its weights can be quantized.
struct PairAttentionParams {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;
  int64_t queries;
  int64_t keys;
  int64_t depth;
  int64_t value_depth;
  const uint8_t* q;
  const uint8_t* k;
  const uint8_t* v;
  uint8_t q_zero;
  uint8_t k_zero;
  uint8_t v_zero;
  float score_scale;
  ScoreStep steps[kScoreStepsMax];
  int64_t step_count;
  const float* mask;  // Or null.
  MaskStrides mask_strides;
  bool zero_nan_rows;
  PairBorder weight;
  PairBorder probability;  // Always there.
  float value_scale;
  PairBorder output;
  float* y;
  uint8_t* y_bytes;
};

struct PairProductRow {
  const char* name;
  Isa isa;
  int32_t panel_lanes;
  // Panels [begin, end) of columns of y. `scratch`: pair_matmul_scratch_bytes(), 64-byte aligned,
  // private to the thread.
  void (*matmul)(const PairMatmulParams&, int64_t begin, int64_t end, void* scratch);
  // Units [begin, end). `scratch`: pair_attention_scratch_bytes().
  void (*attention)(const PairAttentionParams&, int64_t begin, int64_t end, void* scratch);
};

std::span<const PairProductRow> pair_product_rows();
const PairProductRow& choose_pair_product(Isa isa);

int64_t pair_matmul_scratch_bytes(int64_t k, int64_t panel_lanes);
int64_t pair_attention_units(const PairAttentionParams& params, int64_t panel_lanes);
int64_t pair_attention_scratch_bytes(const PairAttentionParams& params, int64_t panel_lanes);

}  // namespace colonnade::kernels

// Fused scaled dot-product attention on column panels, blocked over keys.
//
//   y[h, :, i] = sum over j of softmax_j(scale * <q[h, :, i], k[g, :, j]> + mask[b, h, i, j]) v[g,
//   :, j]
//
// g = h / (heads / kv_heads) is the key and value head of query head h (grouped-query attention).
// q has heads * depth features and columns b * queries + i; k and v have kv_heads * depth (and
// kv_heads * value_depth) features and columns b * keys + j; y has heads * value_depth features and
// q's columns. Each of the four may be a band of features of a wider matrix (Band).
//
// The softmax is taken online over blocks of keys (Milakov and Gimelshein 2018; Dao et al. 2022): a
// block's scores for 1 panel of queries stay in L1. With `causal`, query i sees keys
// j <= i + causal_offset. A query with no key to see gives NaN, as a softmax over nothing does, or
// zero with `zero_nan_rows` (exporters' safe softmax). Any split of the units gives the same bits.
//
// A unit is one block of up to panel_lanes queries of one head of one batch item.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu_features.h"

namespace colonnade::kernels {

// Features [first, first + own) of a panel matrix with `features` features.
struct Band {
  int64_t features;
  int64_t first;
};

// Strides in floats of the additive mask over (batch, head, query, key); 0 = broadcast.
struct MaskStrides {
  int64_t batch;
  int64_t head;
  int64_t query;
  int64_t key;
};

struct AttentionParams {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;
  int64_t queries;
  int64_t keys;
  int64_t depth;
  int64_t value_depth;
  float scale;
  bool causal;
  int64_t causal_offset;
  bool zero_nan_rows;
  const float* q;
  const float* k;
  const float* v;
  const float* mask;  // Or null.
  float* y;
  Band q_band;
  Band k_band;
  Band v_band;
  Band y_band;
  MaskStrides mask_strides;
};

// Scores of a block of keys and a panel of queries: 16 KB, which stay in L1.
inline constexpr int64_t kAttentionScores = 4096;

struct AttentionRow {
  const char* name;
  Isa isa;
  int32_t tile_rows;
  int32_t panel_lanes;
  // Computes units [begin, end) of attention_units(). `scratch`: attention_scratch_floats(),
  // 64-byte aligned, private to the thread.
  void (*run)(const AttentionParams&, int64_t begin, int64_t end, float* scratch);
};

std::span<const AttentionRow> attention_rows();
const AttentionRow& choose_attention(Isa isa);
int64_t attention_units(const AttentionRow& row, const AttentionParams& params);
int64_t attention_scratch_floats(const AttentionRow& row, const AttentionParams& params);

}  // namespace colonnade::kernels

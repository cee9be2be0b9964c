// Recurrent kernels on bytes at the edges of their tiles: nothing is touched beyond the operands,
// every state is written, and any split into tiles and items gives the same bits. Values are
// checked in tests/kernels/test_byte_recurrent_kernels.py.
#include "kernels/qrnn/qrnn.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "dense.h"
#include "fenced.h"

using namespace colonnade;
using kernels::ByteRecurrentParams;
using kernels::RecurrentKind;
using kernels::RecurrentParams;
using test::FencedFloats;

namespace {

constexpr int64_t kSteps = 3;
constexpr int64_t kDirections = 2;

struct Layer {
  RecurrentKind kind;
  int64_t batch;
  int64_t hidden;
  bool has_outputs;  // y and c; else their states live in the work.
  bool is_measured;
};

void fill(FencedFloats& floats, test::Random& random, float scale) {
  for (int64_t i = 0; i < floats.size(); ++i) floats[i] = scale * random.next();
}

// Bytes that end at the fence: their count is a multiple of four.
int8_t* as_bytes(FencedFloats& floats) { return reinterpret_cast<int8_t*>(floats.data()); }

// Packed for a row.
struct Weights {
  Weights(const kernels::ByteRecurrentRow& row, const Layer& layer, test::Random& random)
      : packed(
            kernels::byte_recurrent_packed_bytes(layer.kind, kDirections, layer.hidden, row.lanes) /
            4),
        scale(kernels::recurrent_row_values(layer.kind, kDirections, layer.hidden, row.lanes)),
        sum(scale.size()) {
    const int64_t n = layer.hidden, rows = kernels::gate_count(layer.kind) * n;
    std::vector<int8_t> r(static_cast<size_t>(kDirections * n * rows));
    std::vector<int32_t> sums(static_cast<size_t>(kDirections * rows));
    std::vector<float> scales(sums.size(), 1.0f / static_cast<float>(128 * n));
    for (size_t i = 0; i < r.size(); ++i) {
      r[i] = static_cast<int8_t>(127.0f * random.next());
      const size_t row_number = i % static_cast<size_t>(rows);
      sums[i / static_cast<size_t>(n * rows) * static_cast<size_t>(rows) + row_number] += r[i];
    }
    const int64_t tiles = kernels::recurrent_tiles(layer.kind, n, row.lanes);
    for (int64_t tile = 0; tile < kDirections * tiles; ++tile) {
      kernels::pack_byte_recurrent_tile(layer.kind, n, row.lanes, tile / tiles, tile % tiles,
                                        r.data(), as_bytes(packed));
    }
    kernels::pack_recurrent_rows<float>(layer.kind, kDirections, n, row.lanes, scales.data(),
                                        scale.data());
    kernels::pack_recurrent_rows<int32_t>(layer.kind, kDirections, n, row.lanes, sums.data(),
                                          reinterpret_cast<int32_t*>(sum.data()));
  }

  FencedFloats packed, scale, sum;
};

// y, y_h and y_c, run in blocks of `tiles` and `items`.
std::vector<float> run(const kernels::ByteRecurrentRow& row, const Layer& layer, int64_t tile_block,
                       int64_t item_block) {
  const int64_t n = layer.hidden, gates = kernels::gate_count(layer.kind);
  const int64_t states = kDirections * layer.batch * n;
  test::Random random(static_cast<uint64_t>(31 * n + layer.batch));
  FencedFloats h0(states), c0(states);
  FencedFloats input(kSteps * states * gates), bias(kDirections * n),
      peepholes(3 * kDirections * n);
  for (FencedFloats* floats : {&h0, &c0, &input, &bias, &peepholes}) fill(*floats, random, 1.0f);
  Weights weights(row, layer, random);
  std::vector<int32_t> lengths;
  for (int64_t b = 0; b < layer.batch; ++b) lengths.push_back(static_cast<int32_t>(b % 4));
  constexpr float kUnset = std::numeric_limits<float>::quiet_NaN();
  FencedFloats y(kSteps * states, kUnset), y_h(states, kUnset), y_c(states, kUnset);
  RecurrentParams p = {};
  p.kind = layer.kind;
  p.steps = kSteps;
  p.batch = layer.batch;
  p.hidden = n;
  p.directions = kDirections;
  p.is_reverse[1] = true;
  p.clip = std::numeric_limits<float>::infinity();
  p.gates = input.data();
  p.gates_batch = kDirections * gates * n;
  p.gates_step = layer.batch * p.gates_batch;
  p.hidden_bias = bias.data();
  p.peepholes = peepholes.data();
  p.lengths = lengths.data();
  p.h0 = h0.data();
  p.c0 = c0.data();
  p.state_direction = p.y_direction = layer.batch * n;
  p.state_batch = p.y_batch = n;
  p.y_step = states;
  p.y = layer.has_outputs ? y.data() : nullptr;
  p.y_h = y_h.data();
  p.y_c = layer.has_outputs && layer.kind == RecurrentKind::lstm ? y_c.data() : nullptr;
  FencedFloats work(kernels::recurrent_work_floats(p), kUnset);
  p.work = work.data();
  ByteRecurrentParams q = {};
  q.layer = p;
  q.r = as_bytes(weights.packed);
  q.has_lowest = layer.has_outputs;
  q.r_scale = weights.scale.data();
  q.r_sum = reinterpret_cast<const int32_t*>(weights.sum.data());
  const float h_scale = 1.0f / 127.0f;
  const uint8_t h_zero = 128;
  q.h_scale = layer.is_measured ? nullptr : &h_scale;
  q.h_zero = layer.is_measured ? nullptr : &h_zero;
  const int64_t tiles = kernels::recurrent_tiles(p.kind, n, row.lanes);
  for (int64_t phase = 0; phase < kSteps * kernels::phases_per_step(p.kind); ++phase) {
    for (int64_t d = 0; d < kDirections; ++d) {
      for (int64_t t = 0; t < tiles; t += tile_block) {
        for (int64_t b = 0; b < layer.batch; b += item_block) {
          const int64_t item_end = std::min(b + item_block, layer.batch);
          FencedFloats scratch(kernels::byte_recurrent_scratch_bytes(item_end - b, n) / 4, kUnset);
          row.run(q, phase, d, t, std::min(t + tile_block, tiles), b, item_end, scratch.data());
        }
      }
    }
  }
  std::vector<float> made(y_h.data(), y_h.data() + states);
  if (p.y != nullptr) made.insert(made.end(), y.data(), y.data() + y.size());
  if (p.y_c != nullptr) made.insert(made.end(), y_c.data(), y_c.data() + states);
  return made;
}

void check_layer(const kernels::ByteRecurrentRow& row, const Layer& layer) {
  const std::vector<float> whole = run(row, layer, 1 << 20, 1 << 20);
  EXPECT(std::none_of(whole.begin(), whole.end(), [](float x) { return x != x; }));
  const std::vector<float> parts = run(row, layer, 1, 2);
  EXPECT(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)) == 0);
}

}  // namespace

int main() {
  for (const kernels::ByteRecurrentRow& row : kernels::byte_recurrent_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    for (const int64_t kind : {0, 1, 2, 3, 4}) {
      for (const int64_t batch : {1, 2, 6, 7, 13}) {
        for (const int64_t hidden : {1, 3, 4, 5, 15, 16, 17, 31, 33, 64, 65}) {
          for (const bool flag : {true, false}) {
            check_layer(row, {static_cast<RecurrentKind>(kind), batch, hidden, flag, !flag});
            check_layer(row, {static_cast<RecurrentKind>(kind), batch, hidden, flag, flag});
          }
        }
      }
    }
  }
  return test::finish();
}

// Recurrent kernels at the edges of their tiles: nothing is touched beyond the operands, every
// state is written, and any split into tiles and items gives the same bits. Values are checked in
// tests/kernels/test_rnn_kernels.py.
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "dense.h"
#include "fenced.h"
#include "kernels/rnn/sparse.h"

using namespace colonnade;
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
  float sparsity;    // Share of r that is zero.
};

void fill(FencedFloats& floats, test::Random& random, float scale) {
  for (int64_t i = 0; i < floats.size(); ++i) floats[i] = scale * random.next();
}

// y, y_h and y_c, run in blocks of `tiles` and `items`.
std::vector<float> run(const kernels::RecurrentRow& row, const Layer& layer, int64_t tile_block,
                       int64_t item_block, bool is_sparse = false) {
  const int64_t n = layer.hidden, gates = kernels::gate_count(layer.kind);
  const int64_t states = kDirections * layer.batch * n;
  test::Random random(static_cast<uint64_t>(31 * n + layer.batch));
  FencedFloats r(kDirections * n * gates * n), h0(states), c0(states);
  FencedFloats input(kSteps * states * gates), bias(kDirections * n),
      peepholes(3 * kDirections * n);
  for (FencedFloats* floats : {&h0, &c0, &input, &bias, &peepholes}) fill(*floats, random, 1.0f);
  fill(r, random, 1.0f / static_cast<float>(n));
  for (int64_t i = 0; i < r.size(); ++i) {
    if (random.next() < layer.sparsity * 2.0f - 1.0f) r[i] = 0.0f;
  }
  FencedFloats packed(kernels::recurrent_packed_floats(layer.kind, kDirections, n, row.lanes));
  const int64_t tiles = kernels::recurrent_tiles(layer.kind, n, row.lanes);
  for (int64_t tile = 0; tile < kDirections * tiles; ++tile) {
    kernels::pack_recurrent_tile(layer.kind, n, row.lanes, tile / tiles, tile % tiles, r.data(),
                                 packed.data());
  }
  const kernels::SparseRecurrentGeometry geometry{layer.kind, kDirections, n, row.lanes};
  const std::vector<std::byte> nonzeros = kernels::pack_sparse_recurrent(geometry, r.data());
  EXPECT(kernels::verify_sparse_recurrent(nonzeros, geometry) == nullptr);
  EXPECT(nonzeros.size() % 2 == 0);
  FencedFloats sparse(static_cast<int64_t>((nonzeros.size() + 3) / 4));
  std::memcpy(reinterpret_cast<std::byte*>(sparse.data() + sparse.size()) - nonzeros.size(),
              nonzeros.data(), nonzeros.size());
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
  p.r = is_sparse ? nullptr : packed.data();
  if (is_sparse) {
    p.sparse_r = reinterpret_cast<std::byte*>(sparse.data() + sparse.size()) - nonzeros.size();
  }
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
  for (int64_t phase = 0; phase < kSteps * kernels::phases_per_step(p.kind); ++phase) {
    for (int64_t d = 0; d < kDirections; ++d) {
      for (int64_t t = 0; t < tiles; t += tile_block) {
        for (int64_t b = 0; b < layer.batch; b += item_block) {
          row.run(p, phase, d, t, std::min(t + tile_block, tiles), b,
                  std::min(b + item_block, layer.batch));
        }
      }
    }
  }
  std::vector<float> made(y_h.data(), y_h.data() + states);
  if (p.y != nullptr) made.insert(made.end(), y.data(), y.data() + y.size());
  if (p.y_c != nullptr) made.insert(made.end(), y_c.data(), y_c.data() + states);
  return made;
}

void check_layer(const kernels::RecurrentRow& row, const Layer& layer) {
  const std::vector<float> whole = run(row, layer, 1 << 20, 1 << 20);
  EXPECT(std::none_of(whole.begin(), whole.end(), [](float x) { return x != x; }));
  const std::vector<float> parts = run(row, layer, 1, 2);
  EXPECT(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)) == 0);
  const std::vector<float> sparse = run(row, layer, 1, 3, true);
  EXPECT(std::memcmp(whole.data(), sparse.data(), whole.size() * sizeof(float)) == 0);
}

}  // namespace

int main() {
  for (const kernels::RecurrentRow& row : kernels::recurrent_rows()) {
    if (!test::can_run(row.isa)) continue;
    std::printf("%s\n", row.name);
    for (const int64_t kind : {0, 1, 2, 3, 4}) {
      for (const int64_t batch : {1, 2, 6, 7, 13}) {
        for (const int64_t hidden : {1, 3, 4, 5, 15, 16, 17, 31, 33, 64, 65}) {
          for (const bool has_outputs : {true, false}) {
            const float sparsity = hidden % 2 == 0 ? 0.8f : 0.3f;
            check_layer(row,
                        {static_cast<RecurrentKind>(kind), batch, hidden, has_outputs, sparsity});
          }
        }
      }
    }
  }
  return test::finish();
}

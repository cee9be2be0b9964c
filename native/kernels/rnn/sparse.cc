#include "kernels/rnn/sparse.h"

#include <algorithm>
#include <cstring>

namespace colonnade::kernels {
namespace {

constexpr int64_t kStartMax = UINT16_MAX;

struct Entry {
  int64_t k;
  float weight;
};

using Lane = std::vector<Entry>;

// One vector's part of a step.
struct VectorStep {
  uint16_t start = 0;
  std::vector<uint8_t> elements;  // Per lane, in the window.
  std::vector<float> weights;
};

VectorStep empty_step(const SparseRecurrentGeometry& g) {
  const auto lanes = static_cast<size_t>(g.lanes);
  const auto zero = static_cast<uint8_t>(g.lanes - 1);
  return {0, std::vector<uint8_t>(lanes, zero), std::vector<float>(lanes, 0.0f)};
}

std::vector<VectorStep> find_steps(const SparseRecurrentGeometry& g,
                                   const std::vector<Lane>& lanes) {
  std::vector<VectorStep> steps;
  std::vector<size_t> next(lanes.size(), 0);
  for (;;) {
    int64_t first = g.hidden;
    for (size_t l = 0; l < lanes.size(); ++l) {
      if (next[l] < lanes[l].size()) first = std::min(first, lanes[l][next[l]].k);
    }
    if (first == g.hidden) return steps;
    const int64_t start = std::min(first, g.hidden - g.window());
    VectorStep step = empty_step(g);
    step.start = static_cast<uint16_t>(start);
    for (size_t l = 0; l < lanes.size(); ++l) {
      if (next[l] == lanes[l].size() || lanes[l][next[l]].k >= start + g.window()) continue;
      const Entry& entry = lanes[l][next[l]++];
      step.elements[l] = static_cast<uint8_t>(entry.k - start);
      step.weights[l] = entry.weight;
    }
    steps.push_back(std::move(step));
  }
}

// The nonzeros of hidden units j .. of one gate; units that do not exist have none.
std::vector<Lane> find_lanes(const SparseRecurrentGeometry& g, const float* r, int64_t gate,
                             int64_t j) {
  std::vector<Lane> lanes(static_cast<size_t>(g.lanes));
  const int64_t row = gate_count(g.kind) * g.hidden;
  for (int64_t k = 0; k < g.hidden; ++k) {
    for (int64_t l = 0; l < std::min<int64_t>(g.lanes, g.hidden - j); ++l) {
      const float weight = r[k * row + gate * g.hidden + j + l];
      if (weight != 0.0f) lanes[static_cast<size_t>(l)].push_back({k, weight});
    }
  }
  return lanes;
}

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  const size_t at = out.size();
  out.resize(at + sizeof value);
  std::memcpy(out.data() + at, &value, sizeof value);
}

void put_step(std::vector<std::byte>& out, std::span<const VectorStep> vectors) {
  for (const VectorStep& v : vectors) put(out, v.start);
  for (const VectorStep& v : vectors) {
    for (size_t l = 0; l < v.elements.size(); l += 2) {
      put(out, static_cast<uint8_t>(v.elements[l] | v.elements[l + 1] << 4));
    }
  }
  for (const VectorStep& v : vectors) {
    for (const float weight : v.weights) put(out, weight);
  }
}

void put_tile(std::vector<std::byte>& out, const SparseRecurrentGeometry& g,
              const RecurrentForm& form, const float* r, int64_t tile) {
  std::vector<std::vector<VectorStep>> vectors;
  size_t steps = 0;
  for (int64_t gate = form.first_gate; gate < form.first_gate + form.gates; ++gate) {
    for (int64_t block = 0; block < form.blocks; ++block) {
      const int64_t j = (tile * form.blocks + block) * g.lanes;
      vectors.push_back(find_steps(g, find_lanes(g, r, gate, j)));
      steps = std::max(steps, vectors.back().size());
    }
  }
  for (size_t i = 0; i < steps; ++i) {
    std::vector<VectorStep> step;
    for (const auto& vector : vectors) {
      step.push_back(i < vector.size() ? vector[i] : empty_step(g));
    }
    put_step(out, step);
  }
}

// Calls fn(part, direction, form, tile).
template <typename Fn>
void for_each_part(const SparseRecurrentGeometry& g, const Fn& fn) {
  int64_t part = 0;
  for (int64_t direction = 0; direction < g.directions; ++direction) {
    for (int64_t phase = 0; phase < phases_per_step(g.kind); ++phase) {
      const RecurrentForm form = recurrent_form(g.kind, phase);
      for (int64_t tile = 0; tile < g.tiles(); ++tile) fn(part++, direction, form, tile);
    }
  }
}

bool has_good_starts(std::span<const std::byte> part, const SparseRecurrentGeometry& g,
                     const RecurrentForm& form) {
  const auto step = static_cast<size_t>(sparse_step_bytes(form, g.lanes));
  const auto vectors = static_cast<size_t>(form.gates * form.blocks);
  for (size_t at = 0; at < part.size(); at += step) {
    for (size_t v = 0; v < vectors; ++v) {
      uint16_t start = 0;
      std::memcpy(&start, part.data() + at + 2 * v, sizeof start);
      if (start > g.hidden - g.window()) return false;
    }
  }
  return true;
}

}  // namespace

std::vector<std::byte> pack_sparse_recurrent(const SparseRecurrentGeometry& g, const float* r) {
  if (g.hidden - g.window() > kStartMax) return {};
  std::vector<int64_t> begins;
  std::vector<std::byte> out(static_cast<size_t>(g.parts() + 1) * sizeof(int64_t));
  const int64_t direction_floats = g.hidden * g.hidden * gate_count(g.kind);
  for_each_part(g, [&](int64_t, int64_t direction, const RecurrentForm& form, int64_t tile) {
    begins.push_back(static_cast<int64_t>(out.size()));
    put_tile(out, g, form, r + direction * direction_floats, tile);
  });
  begins.push_back(static_cast<int64_t>(out.size()));
  std::memcpy(out.data(), begins.data(), begins.size() * sizeof(int64_t));
  return out;
}

const char* verify_sparse_recurrent(std::span<const std::byte> packed,
                                    const SparseRecurrentGeometry& g) {
  const auto count = static_cast<size_t>(g.parts() + 1);
  const size_t table = count * sizeof(int64_t);
  if (packed.size() < table) return "sparse weights are too small";
  std::vector<int64_t> begins(count);
  std::memcpy(begins.data(), packed.data(), table);
  if (begins.front() != static_cast<int64_t>(table) ||
      begins.back() > static_cast<int64_t>(packed.size()) ||
      !std::is_sorted(begins.begin(), begins.end())) {
    return "the table of sparse parts is damaged";
  }
  const char* error = nullptr;
  for_each_part(g, [&](int64_t part, int64_t, const RecurrentForm& form, int64_t) {
    const auto begin = static_cast<size_t>(begins[static_cast<size_t>(part)]);
    const auto end = static_cast<size_t>(begins[static_cast<size_t>(part) + 1]);
    if (error != nullptr) return;
    if ((end - begin) % static_cast<size_t>(sparse_step_bytes(form, g.lanes)) != 0) {
      error = "a sparse part is damaged";
    } else if (!has_good_starts(packed.subspan(begin, end - begin), g, form)) {
      error = "a sparse window is out of range";
    }
  });
  return error;
}

}  // namespace colonnade::kernels

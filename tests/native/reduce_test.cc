// Reductions, softmax, norms and arg-max on every ISA of this machine against float64, as rows, as
// middle axes and as column panels, in place and out of place, whole and in pieces.
#include "kernels/reduce/reduce.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "ulp.h"

namespace colonnade::kernels {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<const ReduceRow*> available_rows() {
  const Isa best = best_isa(detect_cpu_features());
  std::vector<const ReduceRow*> rows;
  for (const ReduceRow& row : reduce_rows()) {
    if (row.isa <= best) rows.push_back(&row);
  }
  return rows;
}

std::vector<ReduceShape> shapes() {
  std::vector<ReduceShape> all;
  for (int64_t n : {1, 2, 3, 15, 16, 17, 31, 33, 64, 100, 257, 1000, 5000}) {
    all.push_back({5, n, 1});
    if (n > 300) continue;
    for (int64_t inner : {2, 5, 16, 49, 64, 80, 200}) all.push_back({3, n, inner});
  }
  all.push_back({1, 200000, 1});
  return all;
}

std::vector<float> random_floats(int64_t count, uint32_t seed, float mean = 0.5f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(mean, 2.0f);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// A band: some elements that belong to nobody after every outer step.
struct Tensor {
  Tensor(const ReduceShape& of, int64_t gap, uint32_t seed, float mean = 0.5f)
      : shape(of),
        stride(of.n * of.inner + gap),
        data(random_floats(of.outer * (of.n * of.inner + gap), seed, mean)) {}
  double at(int64_t outer, int64_t i, int64_t col) const {
    return data[static_cast<size_t>(outer * stride + i * shape.inner + col)];
  }
  ReduceShape shape;
  int64_t stride;
  std::vector<float> data;
};

// All units in pieces of different sizes.
template <typename Run>
void in_pieces(int64_t units, const Run& run) {
  for (int64_t begin = 0, step = 1; begin < units; begin += step, step = 2 * step + 1) {
    run(begin, std::min(units, begin + step));
  }
}

void expect_near(float got, double exact, double bound, const std::string& what) {
  const bool near = std::isnan(exact)   ? std::isnan(got)
                    : std::isinf(exact) ? static_cast<double>(got) == exact
                                        : std::abs(got - exact) <= bound;
  if (!EXPECT(near)) {
    std::printf("  %s: %.9g, not %.9g; bound %.3g\n", what.c_str(), got, exact, bound);
  }
}

std::string describe(const ReduceRow& row, const ReduceShape& shape) {
  return std::string(row.name) + " [" + std::to_string(shape.outer) + ", " +
         std::to_string(shape.n) + ", " + std::to_string(shape.inner) + "]";
}

double sum_bound(int64_t n, double magnitude) {
  return (20.0 + std::log2(static_cast<double>(n) + 1.0)) * kUnit * magnitude;
}

struct Sums {
  double total = 0, magnitude = 0, squares = 0, product = 1, exps = 0;
  double greatest = -INFINITY, least = INFINITY;
};

Sums add_up(const std::function<double(int64_t)>& x, int64_t n) {
  Sums sums;
  for (int64_t i = 0; i < n; ++i) {
    const double value = x(i);
    sums.total += value;
    sums.magnitude += std::abs(value);
    sums.squares += value * value;
    sums.product *= value;
    sums.greatest = std::isnan(value) ? value : std::max(value, sums.greatest);
    sums.least = std::isnan(value) ? value : std::min(value, sums.least);
  }
  for (int64_t i = 0; i < n; ++i) sums.exps += std::exp(x(i) - sums.greatest);
  return sums;
}

void expect_reduction(ReduceKind kind, const Sums& s, int64_t n, float got,
                      const std::string& what) {
  const auto count = static_cast<double>(n);
  const double bound = sum_bound(n, s.magnitude);
  switch (kind) {
    case ReduceKind::sum:
      return expect_near(got, s.total, bound, what + " sum");
    case ReduceKind::mean:
      return expect_near(got, s.total / count, bound / count * 2, what + " mean");
    case ReduceKind::l1:
      return expect_near(got, s.magnitude, bound, what + " l1");
    case ReduceKind::sum_square:
      return expect_near(got, s.squares, sum_bound(n, s.squares), what + " sum_square");
    case ReduceKind::l2:
      return expect_near(got, std::sqrt(s.squares), sum_bound(n, std::sqrt(s.squares)),
                         what + " l2");
    case ReduceKind::max:
      return expect_near(got, s.greatest, 0.0, what + " max");
    case ReduceKind::min:
      return expect_near(got, s.least, 0.0, what + " min");
    case ReduceKind::prod: {
      const double product_bound = 2 * kUnit * count * std::abs(s.product) + 0x1p-140;
      // A product of many may leave the range on its way.
      if (n <= 33) expect_near(got, s.product, product_bound, what + " prod");
      return;
    }
    case ReduceKind::log_sum: {
      const double exact = std::log(s.total);
      // log amplifies the relative error of a sum that cancels.
      const double from_sum = s.total > 0 ? bound / s.total : 0.0;
      if (s.total > 2 * bound || s.total < -2 * bound) {
        expect_near(got, exact, 2 * from_sum + 2 * kUnit * (1 + std::abs(exact)),
                    what + " log_sum");
      }
      return;
    }
    case ReduceKind::log_sum_exp: {
      const double exact = std::log(s.exps) + s.greatest;
      expect_near(got, exact, sum_bound(n, 1.0) + 4 * kUnit * (1 + std::abs(exact)),
                  what + " log_sum_exp");
    }
  }
}

void test_reduce(const ReduceRow& row, const ReduceShape& shape) {
  const Tensor x(shape, 3, 1);
  for (int32_t kind = 0; kind <= static_cast<int32_t>(ReduceKind::log_sum_exp); ++kind) {
    std::vector<float> y(static_cast<size_t>(shape.outer * shape.inner), kNan);
    const ReduceParams params = {shape, static_cast<ReduceKind>(kind), x.data.data(), x.stride,
                                 y.data()};
    in_pieces(reduce_units(shape), [&](int64_t b, int64_t e) { row.reduce(params, b, e); });
    for (int64_t outer = 0; outer < shape.outer; ++outer) {
      for (int64_t col = 0; col < shape.inner; ++col) {
        const Sums sums = add_up([&](int64_t i) { return x.at(outer, i, col); }, shape.n);
        expect_reduction(params.kind, sums, shape.n,
                         y[static_cast<size_t>(outer * shape.inner + col)], describe(row, shape));
      }
    }
  }
}

void test_reduce_special(const ReduceRow& row) {
  const auto reduce = [&](ReduceKind kind, std::vector<float> values, int64_t inner) {
    const ReduceShape shape = {1, static_cast<int64_t>(values.size()) / inner, inner};
    std::vector<float> y(static_cast<size_t>(inner), 0.0f);
    const ReduceParams params = {shape, kind, values.data(), 0, y.data()};
    row.reduce(params, 0, reduce_units(shape));
    return y[0];
  };
  for (int64_t inner : {1, 16}) {
    for (size_t at = 0; at < 40; at += 13) {
      std::vector<float> values(static_cast<size_t>(40 * inner), -1.0f);
      float& special = values[at * static_cast<size_t>(inner)];
      for (float value : {kNan, kInfinity, -kInfinity}) {
        special = value;
        EXPECT(test::is_same(reduce(ReduceKind::sum, values, inner), value));
        EXPECT(test::is_same(reduce(ReduceKind::max, values, inner), value < -1 ? -1.0f : value));
        EXPECT(test::is_same(reduce(ReduceKind::min, values, inner), value > -1 ? -1.0f : value));
        const float grown = reduce(ReduceKind::log_sum_exp, values, inner);
        EXPECT(value == -kInfinity ? std::isfinite(grown) : test::is_same(grown, value));
      }
    }
    const std::vector<float> lowest(static_cast<size_t>(20 * inner), -kInfinity);
    EXPECT(reduce(ReduceKind::log_sum_exp, lowest, inner) == -kInfinity);
  }
  EXPECT(reduce(ReduceKind::sum, {}, 1) == 0.0f);
  EXPECT(reduce(ReduceKind::prod, {}, 1) == 1.0f);
  EXPECT(reduce(ReduceKind::max, {}, 1) == -kInfinity);
  EXPECT(reduce(ReduceKind::min, {}, 1) == kInfinity);
  EXPECT(std::isnan(reduce(ReduceKind::mean, {}, 1)));
  EXPECT(reduce(ReduceKind::log_sum_exp, {}, 1) == -kInfinity);
}

int64_t arg_of(const std::function<double(int64_t)>& x, int64_t n, bool is_min, bool last) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i) {
    const double a = x(i), b = x(best);
    const bool beats = std::isnan(b) ? false : std::isnan(a) || (is_min ? a < b : a > b);
    const bool ties = std::isnan(b) ? std::isnan(a) : a == b;
    if (beats || (ties && last)) best = i;
  }
  return best;
}

void test_arg(const ReduceRow& row, const ReduceShape& shape) {
  Tensor x(shape, 2, 3);
  // Few different values, so that ties are common; some NaN in half of the columns.
  for (size_t i = 0; i < x.data.size(); ++i) {
    x.data[i] = std::round(x.data[i]);
    if (shape.outer > 1 && i % 97 == 5) x.data[i] = kNan;
  }
  for (int mode = 0; mode < 4; ++mode) {
    const bool is_min = mode % 2 == 1, last = mode >= 2;
    std::vector<int64_t> y(static_cast<size_t>(shape.outer * shape.inner), -1);
    const ArgParams params = {shape, is_min, last, x.data.data(), x.stride, y.data()};
    in_pieces(reduce_units(shape), [&](int64_t b, int64_t e) { row.arg(params, b, e); });
    for (int64_t outer = 0; outer < shape.outer; ++outer) {
      for (int64_t col = 0; col < shape.inner; ++col) {
        const int64_t exact =
            arg_of([&](int64_t i) { return x.at(outer, i, col); }, shape.n, is_min, last);
        const int64_t got = y[static_cast<size_t>(outer * shape.inner + col)];
        if (!EXPECT(got == exact)) {
          std::printf("  %s mode %d: %lld, not %lld\n", describe(row, shape).c_str(), mode,
                      static_cast<long long>(got), static_cast<long long>(exact));
        }
      }
    }
  }
}

void test_softmax(const ReduceRow& row, const ReduceShape& shape, bool log, bool in_place) {
  const Tensor x(shape, 3, 5);
  Tensor y(shape, in_place ? 3 : 0, 6);
  if (in_place) y.data = x.data;
  const float* source = in_place ? y.data.data() : x.data.data();
  const SoftmaxParams params = {shape, log, source, x.stride, y.data.data(), y.stride};
  in_pieces(reduce_units(shape), [&](int64_t b, int64_t e) { row.softmax(params, b, e); });
  for (int64_t outer = 0; outer < shape.outer; ++outer) {
    for (int64_t col = 0; col < shape.inner; ++col) {
      const Sums sums = add_up([&](int64_t i) { return x.at(outer, i, col); }, shape.n);
      for (int64_t i = 0; i < shape.n; ++i) {
        const double shifted = x.at(outer, i, col) - sums.greatest;
        const double share = std::exp(shifted) / sums.exps;
        const double exact = log ? shifted - std::log(sums.exps) : share;
        // exp turns the rounding of x - max into a relative error.
        const double relative = sum_bound(shape.n, 1.0) + kUnit * (6 + std::abs(shifted));
        const double bound =
            log ? sum_bound(shape.n, 1.0) + 4 * kUnit * (1 + std::abs(exact)) : relative * share;
        expect_near(static_cast<float>(y.at(outer, i, col)), exact, bound,
                    describe(row, shape) + (log ? " log_softmax" : " softmax"));
      }
    }
  }
}

void test_softmax_special(const ReduceRow& row) {
  for (int64_t inner : {1, 3}) {
    for (float special : {kNan, kInfinity}) {
      std::vector<float> x(static_cast<size_t>(20 * inner), 1.0f);
      x[static_cast<size_t>(7 * inner)] = special;
      std::vector<float> y(x.size());
      const SoftmaxParams params = {{1, 20, inner}, false, x.data(), 0, y.data(), 0};
      row.softmax(params, 0, 1);
      for (size_t i = 0; i < 20; ++i) {
        EXPECT(std::isnan(y[i * static_cast<size_t>(inner)]));
        if (inner > 1) EXPECT(std::abs(y[i * 3 + 1] - 0.05f) < 1e-7f);
      }
    }
    // Masked keys: -Inf gives exactly 0.
    std::vector<float> x(static_cast<size_t>(20 * inner), -kInfinity);
    for (int64_t col = 0; col < inner; ++col) x[static_cast<size_t>(4 * inner + col)] = -3e38f;
    std::vector<float> y(x.size());
    const SoftmaxParams params = {{1, 20, inner}, false, x.data(), 0, y.data(), 0};
    row.softmax(params, 0, 1);
    for (size_t i = 0; i < 20; ++i)
      EXPECT(y[i * static_cast<size_t>(inner)] == (i == 4 ? 1.0f : 0.0f));
  }
}

struct NormCase {
  NormKind kind;
  bool has_residual;
  bool has_sum;
  bool has_scale;
  bool in_place;
  float mean;
};

void test_norm(const ReduceRow& row, const ReduceShape& shape, const NormCase& norm) {
  const Tensor x(shape, 0, 7, norm.mean), residual(shape, 4, 8);
  Tensor y(shape, 0, 9), sum(shape, 1, 10);
  const std::vector<float> scale = random_floats(shape.n, 11), bias = random_floats(shape.n, 12);
  if (norm.in_place) y.data = x.data;
  NormParams params = {};
  params.shape = shape;
  params.kind = norm.kind;
  params.epsilon = 1e-5f;
  params.x = norm.in_place ? y.data.data() : x.data.data();
  params.x_stride = x.stride;
  params.residual = norm.has_residual ? residual.data.data() : nullptr;
  params.residual_stride = residual.stride;
  params.scale = norm.has_scale ? scale.data() : nullptr;
  params.bias = norm.has_scale ? bias.data() : nullptr;
  params.y = y.data.data();
  params.y_stride = y.stride;
  params.sum = norm.has_sum ? sum.data.data() : nullptr;
  params.sum_stride = sum.stride;
  in_pieces(reduce_units(shape), [&](int64_t b, int64_t e) { row.norm(params, b, e); });
  const auto n = static_cast<double>(shape.n);
  for (int64_t outer = 0; outer < shape.outer; ++outer) {
    for (int64_t col = 0; col < shape.inner; ++col) {
      const auto s = [&](int64_t i) {
        const double plain = x.at(outer, i, col);
        if (!norm.has_residual) return plain;
        return static_cast<double>(static_cast<float>(plain + residual.at(outer, i, col)));
      };
      const bool centred = norm.kind == NormKind::layer;
      const double mean = centred ? add_up(s, shape.n).total / n : 0.0;
      const Sums spread = add_up([&](int64_t i) { return s(i) - mean; }, shape.n);
      const Sums plain = add_up(s, shape.n);
      const double deviation = std::sqrt(spread.squares / n + 1e-5f);
      // The mean's error is that of a sum; it is then blown up like everything else.
      const double mean_error = centred ? sum_bound(shape.n, plain.magnitude / n) : 0.0;
      for (int64_t i = 0; i < shape.n; ++i) {
        const double weight = norm.has_scale ? scale[static_cast<size_t>(i)] : 1.0;
        const double offset = norm.has_scale ? bias[static_cast<size_t>(i)] : 0.0;
        const double normal = (s(i) - mean) / deviation;
        const double exact = normal * weight + offset;
        const double bound =
            std::abs(weight) * ((mean_error + kUnit * std::abs(s(i))) * 2 / deviation +
                                (sum_bound(shape.n, 1.0) + 4 * kUnit) * std::abs(normal)) +
            kUnit * (std::abs(exact) + std::abs(offset));
        expect_near(static_cast<float>(y.at(outer, i, col)), exact, bound,
                    describe(row, shape) + " norm");
        if (norm.has_sum) expect_near(static_cast<float>(sum.at(outer, i, col)), s(i), 0.0, "sum");
      }
    }
  }
}

// Group norm in rows and in panels of `lanes` against each other's float64 definition.
void test_group_norm(const ReduceRow& row, int64_t samples, int64_t channels, int64_t positions,
                     int64_t groups, int64_t lanes) {
  const int64_t columns = samples * positions;
  const int64_t panel_stride = channels * lanes + (lanes > 0 ? 7 : 0);
  const int64_t panels = lanes > 0 ? (columns + lanes - 1) / lanes : 0;
  const int64_t size = lanes > 0 ? panels * panel_stride : columns * channels;
  const std::vector<float> x = random_floats(size, 13, 10.0f);
  const std::vector<float> scale = random_floats(channels, 14), bias = random_floats(channels, 15);
  std::vector<float> y = x;
  const GroupNormParams params = {samples,  channels,     positions,    groups,
                                  1e-3f,    lanes,        x.data(),     panel_stride,
                                  y.data(), panel_stride, scale.data(), bias.data()};
  in_pieces(samples * groups, [&](int64_t b, int64_t e) { row.group_norm(params, b, e); });
  const auto index = [&](int64_t sample, int64_t channel, int64_t position) {
    if (lanes == 0)
      return static_cast<size_t>((sample * channels + channel) * positions + position);
    const int64_t col = sample * positions + position;
    return static_cast<size_t>(col / lanes * panel_stride + channel * lanes + col % lanes);
  };
  const int64_t group_channels = channels / groups, n = group_channels * positions;
  std::vector<bool> touched(y.size(), false);
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t group = 0; group < groups; ++group) {
      const auto at = [&](int64_t i) {
        return index(sample, group * group_channels + i / positions, i % positions);
      };
      const Sums plain = add_up([&](int64_t i) { return x[at(i)]; }, n);
      const double mean = plain.total / static_cast<double>(n);
      const Sums spread = add_up([&](int64_t i) { return x[at(i)] - mean; }, n);
      const double deviation = std::sqrt(spread.squares / static_cast<double>(n) + 1e-3f);
      const double mean_error = sum_bound(n, plain.magnitude / static_cast<double>(n));
      for (int64_t i = 0; i < n; ++i) {
        const auto channel = static_cast<size_t>(group * group_channels + i / positions);
        const double normal = (x[at(i)] - mean) / deviation;
        const double exact = normal * scale[channel] + bias[channel];
        const double bound =
            std::abs(scale[channel]) *
                (mean_error * 2 / deviation + sum_bound(n, 1.0) * (1 + std::abs(normal))) +
            kUnit * (std::abs(exact) + std::abs(bias[channel]));
        expect_near(y[at(i)], exact, bound, std::string(row.name) + " group_norm");
        touched[at(i)] = true;
      }
    }
  }
  // Neighbouring samples and unused lanes keep their bits.
  for (size_t i = 0; i < y.size(); ++i) {
    if (!touched[i]) EXPECT(test::is_same(y[i], x[i]));
  }
}

void test_row(const ReduceRow& row) {
  for (const ReduceShape& shape : shapes()) {
    test_reduce(row, shape);
    test_arg(row, shape);
    for (int mode = 0; mode < 4; ++mode) test_softmax(row, shape, mode % 2 == 1, mode >= 2);
    for (const NormCase& norm : {NormCase{NormKind::layer, false, false, true, false, 0.5f},
                                 NormCase{NormKind::layer, true, false, true, true, 0.5f},
                                 NormCase{NormKind::layer, true, true, false, false, 300.0f},
                                 NormCase{NormKind::rms, false, false, true, true, 0.5f},
                                 NormCase{NormKind::rms, true, true, true, false, 0.5f},
                                 NormCase{NormKind::rms, false, true, false, false, 0.5f}}) {
      test_norm(row, shape, norm);
    }
  }
  test_reduce_special(row);
  test_softmax_special(row);
  for (int64_t lanes : {0, 16, 64}) {
    test_group_norm(row, 2, 12, 49, 4, lanes);
    test_group_norm(row, 3, 6, 7, 6, lanes);
    test_group_norm(row, 1, 8, 200, 1, lanes);
    test_group_norm(row, 5, 4, 1, 2, lanes);
  }
}

}  // namespace
}  // namespace colonnade::kernels

int main() {
  for (const auto* row : colonnade::kernels::available_rows()) colonnade::kernels::test_row(*row);
  return colonnade::test::finish();
}

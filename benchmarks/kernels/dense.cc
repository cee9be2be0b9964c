// How much of the processor's multiply-add rate the dense kernels reach, on one thread.
//
// Each case is timed in turns with a loop of register-only multiply-adds, and is printed as a share
// of that loop's rate: absolute times drift on shared machines, the ratio does not. Run it through
// dense.py, which builds it and compares with other engines.
//
//   dense [matmul|conv|depthwise|rows|general|attention] [isa]
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "kernels/attention/attention.h"
#include "kernels/conv/conv.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/layout/layout.h"
#include "kernels/matmul/matmul.h"

using namespace colonnade;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kRounds = 9;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

volatile float sink;
double best_rate = 0;  // The fastest loop of multiply-adds so far.

// Multiply-adds per second of a loop that touches no memory.
__attribute__((target("avx512f"), noinline)) double fma_rate_avx512() {
  constexpr int kChains = 12, kSteps = 40000;
  __m512 sum[kChains];
  for (auto& s : sum) s = _mm512_set1_ps(1.0f);
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
  const double start = now_s();
  for (int i = 0; i < kSteps; ++i) {
    _Pragma("GCC unroll 12") for (auto& s : sum) s = _mm512_fmadd_ps(s, a, b);
  }
  const double seconds = now_s() - start;
  for (const auto& s : sum) sink = _mm512_cvtss_f32(s);
  return 16.0 * kChains * kSteps / seconds;
}

__attribute__((target("avx2,fma"), noinline)) double fma_rate_avx2() {
  constexpr int kChains = 12, kSteps = 40000;
  __m256 sum[kChains];
  for (auto& s : sum) s = _mm256_set1_ps(1.0f);
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
  const double start = now_s();
  for (int i = 0; i < kSteps; ++i) {
    _Pragma("GCC unroll 12") for (auto& s : sum) s = _mm256_fmadd_ps(s, a, b);
  }
  const double seconds = now_s() - start;
  for (const auto& s : sum) sink = _mm256_cvtss_f32(s);
  return 8.0 * kChains * kSteps / seconds;
}

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Floats = std::unique_ptr<float, Free>;

Floats make_floats(int64_t count) {
  const size_t bytes = (static_cast<size_t>(count) * 4 + 4095) / 4096 * 4096 + 4096;
  Floats floats(static_cast<float*>(std::aligned_alloc(4096, bytes)));
  for (size_t i = 0; i < bytes / 4; ++i) {
    floats.get()[i] = static_cast<float>(i * 2654435761u % 1000) * 1e-3f - 0.5f;
  }
  return floats;
}

// Times `run` (`products` multiply-adds) and prints its median rate. `bytes` is what must move.
void measure(Isa isa, const char* name, double products, double bytes,
             const std::function<void()>& run) {
  const auto rate = isa >= Isa::avx512 ? &fma_rate_avx512 : &fma_rate_avx2;
  const int repeats = std::max(1, static_cast<int>(2e8 / products));
  run();
  std::vector<double> shares, seconds;
  for (int round = 0; round < kRounds; ++round) {
    const double before = rate();
    const double start = now_s();
    for (int i = 0; i < repeats; ++i) run();
    const double spent = (now_s() - start) / repeats;
    const double beside = std::max(before, rate());
    best_rate = std::max(best_rate, beside);
    shares.push_back(products / spent / beside);
    seconds.push_back(spent);
  }
  std::sort(shares.begin(), shares.end());
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[kRounds / 2];
  std::printf("%-46s %9.3f ms %6.1f GFLOP/s %6.1f GB/s  share %.3f, best %.3f\n", name,
              median * 1e3, 2e-9 * products / median, 1e-9 * bytes / median, shares[kRounds / 2],
              products / seconds[0] / best_rate);
  std::fflush(stdout);
}

int64_t panels_of(int64_t columns, int64_t lanes) { return (columns + lanes - 1) / lanes; }

void measure_matmul(Isa isa, int64_t m, int64_t k, int64_t l) {
  const auto& row = kernels::choose_matmul(isa, m, k, l);
  const int64_t panels = panels_of(l, row.panel_lanes);
  const Floats w = make_floats(m * k), x = make_floats(panels * row.panel_lanes * k);
  const Floats y = make_floats(panels * row.panel_lanes * m), bias = make_floats(m);
  kernels::MatmulParams p = {};
  p.m = m, p.k = k, p.l = l;
  p.w = w.get(), p.bias = bias.get(), p.x = x.get(), p.y = y.get();
  p.x_panel_stride = k * row.panel_lanes, p.y_panel_stride = m * row.panel_lanes;
  p.lo = 0.0f, p.hi = kInfinity;
  char name[80];
  std::snprintf(name, sizeof name, "matmul %ld x %ld x %ld", static_cast<long>(m),
                static_cast<long>(k), static_cast<long>(l));
  const int64_t tiles = (m + row.tile_rows - 1) / row.tile_rows;
  measure(isa, name, 1.0 * m * k * l, 4.0 * (m * k + l * (m + k)),
          [&] { row.run(p, 0, panels, 0, tiles); });
}

kernels::ConvShape same_conv(int64_t batch, int64_t channels, int64_t size, int64_t outs,
                             int64_t kernel, int64_t stride, int64_t group) {
  const int64_t out = (size + stride - 1) / stride;
  const int64_t pad = (kernel - 1) / 2;
  return {batch,  channels, size,   size, outs, out, out, kernel,
          kernel, stride,   stride, 1,    1,    pad, pad, group};
}

void measure_conv(Isa isa, const kernels::ConvShape& s) {
  const auto& row = kernels::choose_conv(isa, s);
  const int64_t lanes = row.panel_lanes;
  const int64_t out_columns = s.batch * s.out_h * s.out_w;
  const int64_t panels = panels_of(out_columns, lanes);
  const int64_t in_panels = panels_of(s.batch * s.in_h * s.in_w, lanes);
  const int64_t depth = s.channels / s.group * s.kernel_h * s.kernel_w;
  const Floats w = make_floats(s.out_channels * depth), bias = make_floats(s.out_channels);
  const Floats x = make_floats(in_panels * lanes * s.channels);
  const Floats y = make_floats(panels * lanes * s.out_channels);
  const Floats scratch = make_floats(kernels::conv_scratch_bytes(row, s) / 4);
  kernels::ConvParams p = {};
  p.shape = s;
  p.w = w.get(), p.bias = bias.get(), p.x = x.get(), p.y = y.get();
  p.x_panel_stride = s.channels * lanes, p.y_panel_stride = s.out_channels * lanes;
  p.lo = 0.0f, p.hi = kInfinity;
  char name[80];
  std::snprintf(name, sizeof name, "conv %ld: %ldx%ldx%ld -> %ldx%ldx%ld k%ld s%ld g%ld",
                static_cast<long>(s.batch), static_cast<long>(s.channels),
                static_cast<long>(s.in_h), static_cast<long>(s.in_w),
                static_cast<long>(s.out_channels), static_cast<long>(s.out_h),
                static_cast<long>(s.out_w), static_cast<long>(s.kernel_w),
                static_cast<long>(s.stride_w), static_cast<long>(s.group));
  const int64_t tiles = kernels::conv_tiles(s, row.tile_rows);
  measure(isa, name, 1.0 * s.out_channels * depth * out_columns,
          4.0 * (s.batch * s.in_h * s.in_w * s.channels + out_columns * s.out_channels +
                 s.out_channels * depth),
          [&] { row.run(p, 0, panels, 0, tiles, scratch.get()); });
}

void measure_depthwise(Isa isa, const kernels::ConvShape& s) {
  const auto& row = kernels::choose_depthwise(isa, s);
  const int64_t lanes = row.panel_lanes;
  const int64_t out_columns = s.batch * s.out_h * s.out_w;
  const int64_t panels = panels_of(out_columns, lanes);
  const int64_t in_panels = panels_of(s.batch * s.in_h * s.in_w, lanes);
  const int64_t taps = s.kernel_h * s.kernel_w;
  const Floats w = make_floats(s.out_channels * taps), bias = make_floats(s.out_channels);
  const Floats x = make_floats(in_panels * lanes * s.channels);
  const Floats y = make_floats(panels * lanes * s.out_channels);
  const Floats scratch = make_floats(kernels::depthwise_scratch_bytes(row, s) / 4);
  kernels::DepthwiseParams p = {};
  p.shape = s;
  p.w = w.get(), p.bias = bias.get(), p.x = x.get(), p.y = y.get();
  p.x_panel_stride = s.channels * lanes, p.y_panel_stride = s.out_channels * lanes;
  p.lo = 0.0f, p.hi = 6.0f;
  char name[80];
  std::snprintf(name, sizeof name, "depthwise %ld: %ldx%ldx%ld k%ld s%ld",
                static_cast<long>(s.batch), static_cast<long>(s.channels),
                static_cast<long>(s.in_h), static_cast<long>(s.in_w), static_cast<long>(s.kernel_w),
                static_cast<long>(s.stride_w));
  measure(isa, name, 1.0 * s.out_channels * taps * out_columns,
          4.0 * (s.batch * s.in_h * s.in_w * s.channels + out_columns * s.out_channels),
          [&] { row.run(p, 0, panels, 0, s.channels, scratch.get()); });
}

void measure_rows(Isa isa, int64_t l, int64_t m, int64_t k) {
  const auto& row = kernels::choose_rows_matmul(isa, l, m, k);
  const Floats w = make_floats(kernels::rows_packed_floats(m, k, row.tile_lanes));
  const Floats x = make_floats(l * k), y = make_floats(l * m);
  kernels::RowsMatmulParams p = {};
  p.l = l, p.m = m, p.k = k;
  p.x = x.get(), p.w = w.get(), p.y = y.get();
  p.x_stride = k, p.y_stride = m;
  p.lo = -kInfinity, p.hi = kInfinity;
  char name[80];
  std::snprintf(name, sizeof name, "rows %ld x %ld x %ld", static_cast<long>(l),
                static_cast<long>(m), static_cast<long>(k));
  const int64_t tiles = (m + row.tile_lanes - 1) / row.tile_lanes;
  measure(isa, name, 1.0 * m * k * l, 4.0 * m * k, [&] { row.run(p, 0, l, 0, tiles); });
}

void measure_general(Isa isa, int64_t m, int64_t n, int64_t k, bool b_transposed) {
  const auto& row = kernels::choose_general_matmul(isa, m, n, k);
  const Floats a = make_floats(m * k), b = make_floats(k * n), c = make_floats(m * n);
  const Floats scratch = make_floats(kernels::general_scratch_floats(row, n, k));
  kernels::GeneralMatmulParams p = {};
  p.m = m, p.n = n, p.k = k;
  p.a = a.get(), p.a_stride_m = k, p.a_stride_k = 1;
  p.b = b.get(), p.b_stride_k = b_transposed ? 1 : n, p.b_stride_n = b_transposed ? k : 1;
  p.c = c.get(), p.c_stride_m = n, p.scale = 1.0f;
  char name[80];
  std::snprintf(name, sizeof name, "general %ld x %ld x %ld%s", static_cast<long>(m),
                static_cast<long>(n), static_cast<long>(k), b_transposed ? " (b transposed)" : "");
  measure(isa, name, 1.0 * m * k * n, 4.0 * (m * k + k * n + m * n),
          [&] { row.run(p, 0, m, scratch.get()); });
}

// `heads` heads of `depth`, as many keys as queries.
void measure_attention(Isa isa, int64_t batch, int64_t heads, int64_t length, int64_t depth,
                       bool causal) {
  const auto& row = kernels::choose_attention(isa);
  const int64_t features = heads * depth;
  const int64_t floats = panels_of(batch * length, row.panel_lanes) * row.panel_lanes * features;
  const Floats q = make_floats(floats), k = make_floats(floats), v = make_floats(floats);
  const Floats y = make_floats(floats);
  kernels::AttentionParams p = {};
  p.batch = batch, p.heads = heads, p.kv_heads = heads;
  p.queries = length, p.keys = length, p.depth = depth, p.value_depth = depth;
  p.scale = 1.0f / std::sqrt(static_cast<float>(depth));
  p.causal = causal;
  p.q = q.get(), p.k = k.get(), p.v = v.get(), p.y = y.get();
  p.q_band = {features, 0}, p.k_band = {features, 0}, p.v_band = {features, 0};
  p.y_band = {features, 0};
  const Floats scratch = make_floats(kernels::attention_scratch_floats(row, p));
  char name[80];
  std::snprintf(name, sizeof name, "attention %ld: %ld heads of %ld, length %ld%s",
                static_cast<long>(batch), static_cast<long>(heads), static_cast<long>(depth),
                static_cast<long>(length), causal ? ", causal" : "");
  const double pairs = causal ? 0.5 * length * (length + 1) : 1.0 * length * length;
  measure(isa, name, 2.0 * batch * features * pairs, 16.0 * batch * length * features,
          [&] { row.run(p, 0, kernels::attention_units(row, p), scratch.get()); });
}

void measure_all_matmuls(Isa isa) {
  for (const int64_t l : {128, 2048}) {
    measure_matmul(isa, 768, 768, l);
    measure_matmul(isa, 3072, 768, l);
    measure_matmul(isa, 768, 3072, l);
  }
  for (const int64_t batch : {1, 16}) {
    measure_matmul(isa, 256, 64, batch * 3136);
    measure_matmul(isa, 64, 256, batch * 3136);
    measure_matmul(isa, 512, 128, batch * 784);
    measure_matmul(isa, 128, 512, batch * 784);
    measure_matmul(isa, 1024, 256, batch * 196);
    measure_matmul(isa, 256, 1024, batch * 196);
    measure_matmul(isa, 2048, 512, batch * 49);
    measure_matmul(isa, 512, 2048, batch * 49);
  }
}

void measure_all_convs(Isa isa) {
  for (const int64_t batch : {1, 16}) {
    measure_conv(isa, same_conv(batch, 3, 224, 64, 7, 2, 1));
    measure_conv(isa, same_conv(batch, 64, 56, 64, 3, 1, 1));
    measure_conv(isa, same_conv(batch, 128, 56, 128, 3, 2, 1));
    measure_conv(isa, same_conv(batch, 128, 28, 128, 3, 1, 1));
    measure_conv(isa, same_conv(batch, 256, 28, 256, 3, 2, 1));
    measure_conv(isa, same_conv(batch, 256, 14, 256, 3, 1, 1));
    measure_conv(isa, same_conv(batch, 512, 14, 512, 3, 2, 1));
    measure_conv(isa, same_conv(batch, 512, 7, 512, 3, 1, 1));
    measure_conv(isa, same_conv(batch, 256, 56, 512, 1, 2, 1));
    measure_conv(isa, same_conv(batch, 1024, 14, 2048, 1, 2, 1));
  }
  measure_conv(isa, same_conv(1, 3, 224, 32, 3, 2, 1));
  measure_conv(isa, same_conv(1, 128, 56, 128, 3, 1, 32));
}

void measure_all_depthwise(Isa isa) {
  for (const int64_t batch : {1, 16}) {
    measure_depthwise(isa, same_conv(batch, 32, 112, 32, 3, 1, 32));
    measure_depthwise(isa, same_conv(batch, 96, 112, 96, 3, 2, 96));
    measure_depthwise(isa, same_conv(batch, 144, 56, 144, 3, 1, 144));
    measure_depthwise(isa, same_conv(batch, 144, 56, 144, 5, 2, 144));
    measure_depthwise(isa, same_conv(batch, 240, 28, 240, 5, 1, 240));
    measure_depthwise(isa, same_conv(batch, 240, 28, 240, 3, 2, 240));
    measure_depthwise(isa, same_conv(batch, 480, 14, 480, 3, 1, 480));
    measure_depthwise(isa, same_conv(batch, 672, 14, 672, 5, 1, 672));
    measure_depthwise(isa, same_conv(batch, 672, 14, 672, 5, 2, 672));
    measure_depthwise(isa, same_conv(batch, 1152, 7, 1152, 3, 1, 1152));
    measure_depthwise(isa, same_conv(batch, 1152, 7, 1152, 5, 1, 1152));
  }
}

void measure_all_rows(Isa isa) {
  for (const int64_t l : {1, 4, 16}) {
    measure_rows(isa, l, 1000, 2048);
    measure_rows(isa, l, 4096, 4096);
  }
}

void measure_all_general(Isa isa) {
  measure_general(isa, 128, 128, 64, true);
  measure_general(isa, 128, 64, 128, false);
  measure_general(isa, 512, 512, 64, true);
  measure_general(isa, 512, 512, 512, false);
}

void measure_all_attention(Isa isa) {
  for (const int64_t batch : {1, 16}) {
    measure_attention(isa, batch, 12, 128, 64, false);
    measure_attention(isa, batch, 12, 128, 32, false);
  }
  measure_attention(isa, 4, 12, 197, 64, false);
  measure_attention(isa, 1, 12, 512, 64, true);
}

}  // namespace

int main(int count, char** arguments) {
  const std::string family = count > 1 ? arguments[1] : "";
  Isa isa = best_isa(detect_cpu_features());
  if (count > 2) isa = parse_isa(arguments[2]).value_or(isa);
  std::printf("%s, register-only multiply-adds: %.1f GFLOP/s\n", isa_name(isa),
              2e-9 * (isa >= Isa::avx512 ? fma_rate_avx512() : fma_rate_avx2()));
  if (family.empty() || family == "matmul") measure_all_matmuls(isa);
  if (family.empty() || family == "conv") measure_all_convs(isa);
  if (family.empty() || family == "depthwise") measure_all_depthwise(isa);
  if (family.empty() || family == "rows") measure_all_rows(isa);
  if (family.empty() || family == "general") measure_all_general(isa);
  if (family.empty() || family == "attention") measure_all_attention(isa);
  return 0;
}

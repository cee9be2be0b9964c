// Accuracy of simd/math.inc on every ISA of this machine, against float64.
//
//   math_sweep                      every 997th float, and all floats around special points
//   math_sweep --stride 1           all 2^32 floats (minutes per function)
//   math_sweep --only gelu_erf      one function
//
// Fails when a result is further from the exact one than the table allows, when a NaN or an
// infinity is wrong, or when two ISAs differ in a bit (the portable one is compared on a part).
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu_features.h"
#include "ulp.h"

namespace colonnade {

#define X(name, expression, oracle, ulp) void evaluate_##name(const float*, float*, int);
namespace portable {
#include "math_functions.inc"
}
#if defined(__x86_64__)
namespace avx2 {
#include "math_functions.inc"
}
namespace avx512 {
#include "math_functions.inc"
}
#else
namespace avx2 = portable;
namespace avx512 = portable;
#endif
#undef X

namespace {

double sigmoid_oracle(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double softplus_oracle(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double mish_oracle(double x) { return x * std::tanh(std::log1p(std::exp(x))); }
double gelu_erf_oracle(double x) { return 0.5 * x * std::erfc(-x * M_SQRT1_2); }
double gelu_tanh_oracle(double x) {
  const double v = std::sqrt(8.0 / M_PI) * (x + 0.044715 * x * x * x);
  return x / (1.0 + std::exp(-v));
}

using Evaluate = void (*)(const float*, float*, int);

struct Function {
  const char* name;
  Evaluate evaluate[3];  // By Isa: portable, avx2, avx512.
  double (*oracle)(double);
  double max_ulp;
};

const Function kFunctions[] = {
#define X(name, expression, oracle, ulp)                                        \
  {#name,                                                                       \
   {portable::evaluate_##name, avx2::evaluate_##name, avx512::evaluate_##name}, \
   [](double x) -> double { return std::isnan(x) ? x : (oracle); },             \
   ulp},
#include "math_functions.inc"
#undef X
};

constexpr int kChunk = 1 << 12;
constexpr uint64_t kAllFloats = uint64_t{1} << 32;

struct Outcome {
  double worst_ulp = 0.0;
  float worst_input = 0.0f;
  uint64_t num_wrong_specials = 0;
  uint64_t num_different_bits = 0;
};

void compare(const Function& function, const float* input, const float* output, Outcome& outcome) {
  for (int i = 0; i < kChunk; ++i) {
    const double exact = function.oracle(input[i]);
    if (std::isnan(exact) || std::isnan(output[i])) {
      outcome.num_wrong_specials += std::isnan(exact) != std::isnan(output[i]);
      continue;
    }
    const double ulp = test::ulp_distance(output[i], exact);
    if (ulp > outcome.worst_ulp) {
      outcome.worst_ulp = ulp;
      outcome.worst_input = input[i];
    }
  }
}

uint64_t count_different(const float* a, const float* b) {
  if (std::memcmp(a, b, kChunk * sizeof(float)) == 0) return 0;
  uint64_t count = 0;
  for (int i = 0; i < kChunk; ++i) count += !test::is_same(a[i], b[i]);
  return count;
}

// Runs every ISA on a chunk; the portable one, whose fma is slow, only where asked.
void check_chunk(const Function& function, Isa best, bool with_portable, const float* input,
                 Outcome& outcome) {
  alignas(64) static float fast[kChunk];
  alignas(64) static float other[kChunk];
  const int best_idx = static_cast<int>(best);
  function.evaluate[best_idx](input, fast, kChunk);
  compare(function, input, fast, outcome);
  for (int isa = with_portable ? 0 : 1; isa < best_idx; ++isa) {
    function.evaluate[isa](input, other, kChunk);
    outcome.num_different_bits += count_different(fast, other);
  }
}

Outcome sweep(const Function& function, Isa best, uint64_t stride) {
  alignas(64) static float input[kChunk];
  Outcome outcome;
  int filled = 0;
  uint64_t chunk_idx = 0;
  const auto add = [&](uint32_t pattern) {
    input[filled++] = std::bit_cast<float>(pattern);
    if (filled < kChunk) return;
    check_chunk(function, best, stride > 1 || chunk_idx % 61 == 0, input, outcome);
    ++chunk_idx;
    filled = 0;
  };
  for (uint64_t pattern = 0; pattern < kAllFloats; pattern += stride) {
    add(static_cast<uint32_t>(pattern));
  }
  // Zeros, subnormals, both ends of the finite range, and where results saturate or branches meet.
  const float points[] = {0.0f,
                          0x1p-126f,
                          0x1p-149f,
                          0.25f,
                          0.5f,
                          0.75f,
                          1.0f,
                          1.5f,
                          4.0f,
                          10.0f,
                          11.0f,
                          14.5f,
                          17.33f,
                          87.336f,
                          88.72f,
                          89.0f,
                          103.97f,
                          104.f,
                          120.f,
                          0x1p17f,
                          8388608.0f,
                          3.4e38f,
                          __builtin_inff()};
  for (float point : points) {
    for (int sign = 0; sign < 2; ++sign) {
      const int64_t centre = std::bit_cast<uint32_t>(point);
      for (int64_t offset = -2048; offset < 2048; ++offset) {
        const int64_t magnitude = std::max<int64_t>(centre + offset, 0);
        add(static_cast<uint32_t>(magnitude) | (sign ? 0x80000000u : 0u));
      }
    }
  }
  while (filled != 0) add(0);
  return outcome;
}

bool report(const Function& function, const Outcome& outcome) {
  const bool passed = outcome.worst_ulp <= function.max_ulp && outcome.num_wrong_specials == 0 &&
                      outcome.num_different_bits == 0;
  std::printf("%-4s %-16s %.3f ULP at %-16.9g (%a)", passed ? "ok" : "FAIL", function.name,
              outcome.worst_ulp, outcome.worst_input, outcome.worst_input);
  std::printf("  wrong specials %llu, different bits %llu\n",
              static_cast<unsigned long long>(outcome.num_wrong_specials),
              static_cast<unsigned long long>(outcome.num_different_bits));
  std::fflush(stdout);
  return passed;
}

}  // namespace
}  // namespace colonnade

int main(int argc, char** argv) {
  uint64_t stride = 997;
  std::string_view only;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string_view(argv[i]) == "--stride") stride = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::string_view(argv[i]) == "--only") only = argv[i + 1];
  }
  if (stride == 0) stride = 1;
  using colonnade::Isa;
  const Isa best = colonnade::best_isa(colonnade::detect_cpu_features(), Isa::avx512);
  bool passed = true;
  for (const auto& function : colonnade::kFunctions) {
    if (!only.empty() && only != function.name) continue;
    passed &= colonnade::report(function, colonnade::sweep(function, best, stride));
  }
  return passed ? 0 : 1;
}

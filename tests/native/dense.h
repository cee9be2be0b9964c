// What the tests of dense kernels share: seeded data, panels, and the error bound.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <vector>

#include "base/cpu_features.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace colonnade::test {

inline constexpr double kUnitRoundoff = 0x1p-24;

// Uniform in [-1, 1), the same on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435761u + 1) {}
  float next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<int32_t>(state_ >> 32)) * 0x1p-31f;
  }

 private:
  uint64_t state_;
};

// Makes floats inaccessible to the address sanitizer, where the build has it.
inline void set_poisoned([[maybe_unused]] const float* from, [[maybe_unused]] const float* to,
                         [[maybe_unused]] bool poisoned) {
#if defined(__SANITIZE_ADDRESS__)
  const auto bytes = static_cast<size_t>(to - from) * sizeof(float);
  poisoned ? __asan_poison_memory_region(from, bytes) : __asan_unpoison_memory_region(from, bytes);
#endif
}

// 64-byte aligned floats between guard values, which intact() checks. The address sanitizer reports
// reads of them too.
class Buffer {
 public:
  explicit Buffer(int64_t count, float value = 0.0f)
      : count_(count), floats_(static_cast<size_t>(count + 2 * kGuard + 16), kGuardValue) {
    const auto address = reinterpret_cast<uintptr_t>(floats_.data() + kGuard);
    offset_ = kGuard + static_cast<int64_t>((64 - address % 64) % 64 / sizeof(float));
    for (int64_t i = 0; i < count; ++i) data()[i] = value;
    set_guards_poisoned(true);
  }
  Buffer(int64_t count, Random& random) : Buffer(count) {
    for (int64_t i = 0; i < count; ++i) data()[i] = random.next();
  }
  Buffer(const Buffer& other) : Buffer(other.count_) {
    for (int64_t i = 0; i < count_; ++i) data()[i] = other[i];
  }
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { set_guards_poisoned(false); }

  float* data() { return floats_.data() + offset_; }
  const float* data() const { return floats_.data() + offset_; }
  float& operator[](int64_t i) { return data()[i]; }
  float operator[](int64_t i) const { return data()[i]; }
  int64_t size() const { return count_; }
  bool intact() const {
    set_guards_poisoned(false);
    bool is_intact = true;
    for (int64_t i = 0; i < static_cast<int64_t>(floats_.size()); ++i) {
      const bool inside = i >= offset_ && i < offset_ + count_;
      is_intact &= inside || floats_[static_cast<size_t>(i)] == kGuardValue;
    }
    set_guards_poisoned(true);
    return is_intact;
  }

 private:
  static constexpr int64_t kGuard = 32;
  static constexpr float kGuardValue = 12345.0f;
  void set_guards_poisoned(bool poisoned) const {
    const float* end = floats_.data() + floats_.size();
    set_poisoned(floats_.data(), data(), poisoned);
    set_poisoned(data() + count_, end, poisoned);
  }
  int64_t count_;
  int64_t offset_ = 0;
  std::vector<float> floats_;
};

// A sum of products: its value, and the sum of magnitudes that bounds its error.
struct Sum {
  double value = 0;
  double magnitude = 0;
  void add(double a, double b = 1) {
    value += a * b;
    magnitude += std::fabs(a * b);
  }
  // Of `terms` fp32 operations in any order.
  double bound(int64_t terms) const {
    return kUnitRoundoff * static_cast<double>(terms + 3) * magnitude;
  }
  bool accepts(float y, int64_t terms, float lo, float hi) const {
    const double expected = std::fmin(hi, std::fmax(lo, value));
    return std::fabs(static_cast<double>(y) - expected) <= bound(terms);
  }
};

inline int64_t panels_of(int64_t columns, int64_t lanes) { return (columns + lanes - 1) / lanes; }

inline int64_t panel_index(int64_t f, int64_t l, int64_t panel_stride, int64_t lanes) {
  return l / lanes * panel_stride + f * lanes + l % lanes;
}

// Random columns; lanes past the last column hold NaN.
inline Buffer random_panels(int64_t features, int64_t columns, int64_t panel_stride, int64_t lanes,
                            Random& random) {
  Buffer panels(panels_of(columns, lanes) * panel_stride, std::numeric_limits<float>::quiet_NaN());
  for (int64_t f = 0; f < features; ++f) {
    for (int64_t l = 0; l < columns; ++l) {
      panels[panel_index(f, l, panel_stride, lanes)] = random.next();
    }
  }
  return panels;
}

inline bool same_columns(const Buffer& a, const Buffer& b, int64_t features, int64_t columns,
                         int64_t panel_stride, int64_t lanes) {
  for (int64_t f = 0; f < features; ++f) {
    for (int64_t l = 0; l < columns; ++l) {
      const int64_t i = panel_index(f, l, panel_stride, lanes);
      if (a[i] != b[i]) return false;
    }
  }
  return true;
}

// Kernels of the ISAs that this machine has.
inline bool can_run(Isa isa) {
  static const Isa best = best_isa(detect_cpu_features());
  return isa <= best;
}

}  // namespace colonnade::test

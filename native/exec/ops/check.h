// Size checks shared by the adapters: products that cannot overflow, operands that must be there.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "exec/op.h"

namespace colonnade::exec {

// Product of non-negative factors, or -1 when one is negative or the product passes 2^60.
inline int64_t checked_product(std::initializer_list<int64_t> factors) {
  constexpr int64_t kLimit = int64_t{1} << 60;
  int64_t product = 1;
  bool is_zero = false;
  for (const int64_t factor : factors) {
    if (factor < 0) return -1;
    if (factor == 0) is_zero = true;
    if (is_zero) continue;
    if (product > kLimit / factor) return -1;
    product *= factor;
  }
  return is_zero ? 0 : product;
}

inline bool holds_floats(const OperandInfo& operand, int64_t count) {
  return operand.present() && count >= 0 && operand.bytes / 4 >= count;
}

// An optional operand: absent, or large enough.
inline bool holds_floats_or_absent(const OperandInfo& operand, int64_t count) {
  return !operand.present() || holds_floats(operand, count);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Floats of a features x columns matrix in whole panels, or -1.
inline int64_t panel_floats(int64_t features, int64_t columns, int64_t lanes) {
  if (columns < 0 || columns > (int64_t{1} << 60)) return -1;
  return checked_product({ceil_div(columns, lanes), features, lanes});
}

template <typename T>
const T* as(const RunContext& context, size_t operand) {
  return reinterpret_cast<const T*>(context.operands[operand]);
}

template <typename T>
T* as_mutable(const RunContext& context, size_t operand) {
  return reinterpret_cast<T*>(context.operands[operand]);
}

}  // namespace colonnade::exec

// Element types as Plans write them; the other side of src/colonnade/planner/element.py.
#pragma once

#include <cstdint>

namespace colonnade {

enum class DType : int64_t {
  float32 = 0,
  int32 = 1,
  int64 = 2,
  boolean = 3,
  uint8 = 4,
  int8 = 5,
  float64 = 6,
  float16 = 7,
  int16 = 8,
  uint16 = 9,
  uint32 = 10,
  uint64 = 11,
};

// Bytes of one element, or 0 when the code names no type.
constexpr int64_t item_bytes(DType type) {
  switch (type) {
    case DType::boolean:
    case DType::uint8:
    case DType::int8:
      return 1;
    case DType::float16:
    case DType::int16:
    case DType::uint16:
      return 2;
    case DType::float32:
    case DType::int32:
    case DType::uint32:
      return 4;
    case DType::float64:
    case DType::int64:
    case DType::uint64:
      return 8;
  }
  return 0;
}

constexpr bool is_item_bytes(int64_t bytes) {
  return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
}

// A byte that is true when it is not zero, whatever its bits.
struct Boolean {
  uint8_t bits;
};

#if defined(__aarch64__)  // g++ 12 has no _Float16 for ARM in C++.
using Half = __fp16;
#else
using Half = _Float16;
#endif

template <typename T>
struct TypeTag {
  using type = T;
};

// Calls fn(TypeTag<T>{}) with the C++ type of the ten numeric types (all but bool and float16) and
// returns what it returns; for any other code returns a value-initialised result.
template <typename Fn>
auto visit_numeric(DType type, const Fn& fn) -> decltype(fn(TypeTag<float>{})) {
  switch (type) {
    case DType::float32:
      return fn(TypeTag<float>{});
    case DType::float64:
      return fn(TypeTag<double>{});
    case DType::int8:
      return fn(TypeTag<int8_t>{});
    case DType::int16:
      return fn(TypeTag<int16_t>{});
    case DType::int32:
      return fn(TypeTag<int32_t>{});
    case DType::int64:
      return fn(TypeTag<int64_t>{});
    case DType::uint8:
      return fn(TypeTag<uint8_t>{});
    case DType::uint16:
      return fn(TypeTag<uint16_t>{});
    case DType::uint32:
      return fn(TypeTag<uint32_t>{});
    case DType::uint64:
      return fn(TypeTag<uint64_t>{});
    case DType::boolean:
    case DType::float16:
      break;
  }
  return {};
}

// Same, with Boolean and Half too.
template <typename Fn>
auto visit_any(DType type, const Fn& fn) -> decltype(fn(TypeTag<float>{})) {
  if (type == DType::boolean) return fn(TypeTag<Boolean>{});
  if (type == DType::float16) return fn(TypeTag<Half>{});
  return visit_numeric(type, fn);
}

// Calls fn(TypeTag<U>{}) with the unsigned type of that many bytes (1, 2, 4 or 8).
template <typename Fn>
auto visit_item_bytes(int64_t bytes, const Fn& fn) -> decltype(fn(TypeTag<uint8_t>{})) {
  switch (bytes) {
    case 1:
      return fn(TypeTag<uint8_t>{});
    case 2:
      return fn(TypeTag<uint16_t>{});
    case 4:
      return fn(TypeTag<uint32_t>{});
    case 8:
      return fn(TypeTag<uint64_t>{});
    default:
      return {};
  }
}

}  // namespace colonnade

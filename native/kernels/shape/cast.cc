#include "kernels/shape/cast.h"

#include <limits>
#include <type_traits>

namespace colonnade::kernels {
namespace {

template <typename T>
constexpr bool kIsFloat = std::is_floating_point_v<T>;

// Truncates to the signed integer I; what does not fit, and NaN, gives its lowest value.
template <typename I, typename F>
I truncate(F value) {
  constexpr F kLow = static_cast<F>(std::numeric_limits<I>::min());
  // -kLow is exact: a power of two.
  return value >= kLow && value < -kLow ? static_cast<I>(value) : std::numeric_limits<I>::min();
}

template <typename To, typename From>
To float_to_integer(From value) {
  if constexpr (std::is_same_v<To, uint64_t>) {
    constexpr From kTop = static_cast<From>(uint64_t{1} << 63);
    if (value >= kTop) {
      return static_cast<uint64_t>(truncate<int64_t>(value - kTop)) ^ (uint64_t{1} << 63);
    }
    return static_cast<uint64_t>(truncate<int64_t>(value));
  } else if constexpr (sizeof(To) == 8 || std::is_same_v<To, uint32_t>) {
    return static_cast<To>(truncate<int64_t>(value));
  } else {
    return static_cast<To>(truncate<int32_t>(value));
  }
}

template <typename To, typename From>
To convert(From value) {
  if constexpr (std::is_same_v<From, Boolean>) {
    if constexpr (std::is_same_v<To, Boolean>) {
      return value;
    } else {
      return static_cast<To>(value.bits != 0 ? 1 : 0);
    }
  } else if constexpr (std::is_same_v<From, Half>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, Boolean>) {
    return Boolean{static_cast<uint8_t>(value != From{0} ? 1 : 0)};
  } else if constexpr (kIsFloat<From> && std::is_integral_v<To>) {
    return float_to_integer<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

template <typename From, typename To>
void cast_items(const std::byte* in, std::byte* out, int64_t count) {
  const From* from = reinterpret_cast<const From*>(in);
  To* to = reinterpret_cast<To*>(out);
  for (int64_t i = 0; i < count; ++i) to[i] = convert<To>(from[i]);
}

}  // namespace

CastFn find_cast(DType from, DType to) {
  return visit_any(from, [to](auto from_tag) -> CastFn {
    using From = typename decltype(from_tag)::type;
    return visit_any(to, [](auto to_tag) -> CastFn {
      return &cast_items<From, typename decltype(to_tag)::type>;
    });
  });
}

}  // namespace colonnade::kernels

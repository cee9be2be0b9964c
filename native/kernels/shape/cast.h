// Conversion between element types.
//
// float -> integer truncates; a value that does not fit follows x86: the conversion goes through a
// signed integer of 32 bits (64 for uint32, int64, uint64) whose lowest value stands for "does not
// fit" and for NaN, then keeps the low bits. integer -> integer keeps the low bits. Anything ->
// bool is "not zero" (NaN is true). bool -> anything gives 0 or 1. To float rounds to nearest even.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace colonnade::kernels {

// Converts `count` elements. `out` may be `in` itself when the item sizes are equal.
using CastFn = void (*)(const std::byte* in, std::byte* out, int64_t count);

// Null when a code names no type.
CastFn find_cast(DType from, DType to);

}  // namespace colonnade::kernels

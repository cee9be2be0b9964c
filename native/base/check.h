// Assertions for programmer mistakes; never reachable from user input.
// CHECK is always on and belongs on set-up paths. DCHECK vanishes in release builds (NDEBUG).
#pragma once

namespace colonnade {

// Prints the failed condition with its place to stderr and aborts.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace colonnade

#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::colonnade::check_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define DCHECK(condition) static_cast<void>(sizeof(!(condition)))
#else
#define DCHECK(condition) CHECK(condition)
#endif

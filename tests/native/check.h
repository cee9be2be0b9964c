// A failed EXPECT prints where and what, and makes the test program return 1.
#pragma once

#include <cstdio>

namespace colonnade::test {

inline int num_failures = 0;

inline bool expect(bool condition, const char* text, const char* file, int line) {
  if (!condition && ++num_failures <= 20) std::printf("%s:%d: %s\n", file, line, text);
  return condition;
}

inline int finish() {
  std::printf(num_failures == 0 ? "passed\n" : "%d checks failed\n", num_failures);
  return num_failures == 0 ? 0 : 1;
}

}  // namespace colonnade::test

#define EXPECT(condition) \
  ::colonnade::test::expect(static_cast<bool>(condition), #condition, __FILE__, __LINE__)

// Floats that end just before a page that faults: any read or write past them kills the program,
// with or without a sanitizer, and also by instructions that the sanitizer does not see (masked
// vector loads). What a mask leaves out does not fault.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace colonnade::test {

class FencedFloats {
 public:
  // `distance` floats lie between the end and the fence: it makes the alignment.
  explicit FencedFloats(int64_t count, float value = 0.0f, int64_t distance = 0) : count_(count) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t used = (count + distance) * static_cast<int64_t>(sizeof(float));
    const int64_t room = (used + page - 1) / page * page;
    bytes_ = static_cast<size_t>(room + 2 * page);
    pages_ = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages_ == MAP_FAILED) std::abort();
    char* first = static_cast<char*>(pages_) + page;
    if (room > 0 && mprotect(first, static_cast<size_t>(room), PROT_READ | PROT_WRITE) != 0) {
      std::abort();
    }
    floats_ = reinterpret_cast<float*>(first + room - used);
    for (int64_t i = 0; i < count; ++i) floats_[i] = value;
  }
  FencedFloats(const FencedFloats&) = delete;
  FencedFloats& operator=(const FencedFloats&) = delete;
  ~FencedFloats() { munmap(pages_, bytes_); }

  float* data() { return floats_; }
  float& operator[](int64_t i) { return floats_[i]; }
  float operator[](int64_t i) const { return floats_[i]; }
  int64_t size() const { return count_; }

 private:
  int64_t count_;
  float* floats_ = nullptr;
  void* pages_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace colonnade::test

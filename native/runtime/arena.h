// A 64-byte aligned block of memory, grown on demand and counted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace colonnade::runtime {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&&) = delete;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Makes at least `bytes` usable; the content is lost when it grows. False when memory is out.
  bool reserve(int64_t bytes);
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace colonnade::runtime

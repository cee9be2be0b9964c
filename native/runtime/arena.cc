#include "runtime/arena.h"

#include <sys/mman.h>

#include <utility>

namespace colonnade::runtime {
namespace {

constexpr int64_t kPage = 4096;

int64_t round_up(int64_t bytes, int64_t step) { return (bytes + step - 1) / step * step; }

}  // namespace

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

bool Arena::reserve(int64_t bytes) {
  if (bytes <= bytes_) return true;
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
  data_ = nullptr;
  bytes_ = 0;
  const int64_t size = round_up(bytes, kPage);
  void* block = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return false;
#ifdef MADV_NOHUGEPAGE
  // Panels lie at strides of many KB. On huge pages these fall into few cache sets
  // (EfficientNet-Lite0 takes 1.5 times as long); the scattered frames of small pages spread them.
  (void)madvise(block, static_cast<size_t>(size), MADV_NOHUGEPAGE);
#endif
  data_ = static_cast<std::byte*>(block);
  bytes_ = size;
  return true;
}

}  // namespace colonnade::runtime

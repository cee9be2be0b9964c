#include <cstdlib>
#include <new>

#include "bindings/bindings.h"

namespace colonnade::bindings {

namespace {

template <typename Array, typename T>
Array make_array(int64_t count) {
  constexpr size_t kAlignment = 64;
  const size_t bytes =
      (static_cast<size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, bytes == 0 ? kAlignment : bytes);
  if (data == nullptr) throw std::bad_alloc();
  nb::capsule owner(data, [](void* p) noexcept { std::free(p); });
  const size_t shape[1] = {static_cast<size_t>(count)};
  return Array(data, 1, shape, owner);
}

}  // namespace

NumpyFloats make_floats(int64_t count) { return make_array<NumpyFloats, float>(count); }
NumpyBytes make_bytes(int64_t count) { return make_array<NumpyBytes, uint8_t>(count); }

}  // namespace colonnade::bindings

NB_MODULE(_core, m) {
  m.doc() = "colonnade's native core: packs weights and runs Plans.";
  colonnade::bindings::bind_runtime(m);
  colonnade::bindings::bind_executor(m);
  colonnade::bindings::bind_catalogue(m);
  colonnade::bindings::bind_byte_recurrent(m);
  colonnade::bindings::bind_test_kernels(m);
}

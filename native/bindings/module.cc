#include <cstdlib>
#include <new>

#include "bindings/bindings.h"

namespace colonnade::bindings {

NumpyFloats make_floats(int64_t count) {
  constexpr size_t kAlignment = 64;
  const size_t bytes =
      (static_cast<size_t>(count) * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, bytes == 0 ? kAlignment : bytes);
  if (data == nullptr) throw std::bad_alloc();
  nb::capsule owner(data, [](void* p) noexcept { std::free(p); });
  const size_t shape[1] = {static_cast<size_t>(count)};
  return NumpyFloats(data, 1, shape, owner);
}

}  // namespace colonnade::bindings

NB_MODULE(_core, m) {
  m.doc() = "colonnade's native core: packs weights and runs Plans.";
  colonnade::bindings::bind_runtime(m);
  colonnade::bindings::bind_executor(m);
  colonnade::bindings::bind_catalogue(m);
  colonnade::bindings::bind_test_kernels(m);
}

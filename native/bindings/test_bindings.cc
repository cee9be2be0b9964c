// Kernel rows for pytest: every row of every table can be listed here and run on its own.
#include "bindings/bindings.h"

namespace colonnade::bindings {

void bind_test_kernels(nb::module_&) {}

}  // namespace colonnade::bindings

// Kernel rows and pure functions of the core for pytest.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "bindings/bindings.h"
#include "exec/reach.h"

namespace colonnade::bindings {
namespace {

// (first_read, end_read) of output panels [panel, end); the reach's fields in order.
std::tuple<int64_t, int64_t> read_panels(const std::vector<int64_t>& fields, int64_t panel,
                                         int64_t end) {
  if (fields.size() != 9) throw nb::value_error("a reach has 9 numbers");
  const exec::Reach reach{fields[0], fields[1], fields[2], fields[3], fields[4],
                          fields[5], fields[6], fields[7], fields[8]};
  return {exec::first_read(reach, panel), exec::end_read(reach, end)};
}

}  // namespace

void bind_test_kernels(nb::module_& m) {
  m.def("read_panels", &read_panels, nb::arg("reach"), nb::arg("panel"), nb::arg("end"));
}

}  // namespace colonnade::bindings

#include "bindings/runtime.h"

#include <malloc.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/bindings.h"

namespace colonnade::bindings {

Runtime::Runtime(int threads) : topology(runtime::read_topology()) {
  const int count = threads > 0 ? threads : topology.default_threads();
  pool = std::make_shared<runtime::ThreadPool>(count, topology.cpus_for(count));
}

void bind_runtime(nb::module_& m) {
  nb::class_<Runtime>(m, "Runtime", "Topology and a pinned thread pool; engines may share one.")
      .def(nb::init<int>(), nb::arg("threads") = 0)
      .def_prop_ro("threads", [](const Runtime& r) { return r.pool->num_threads(); })
      .def_prop_ro("peak_threads_running", [](const Runtime& r) { return r.pool->peak_running(); })
      .def_prop_ro(
          "threads_by_domain",
          [](const Runtime& r) { return r.topology.threads_by_domain(r.pool->num_threads()); })
      .def_prop_ro("is_forked", [](const Runtime& r) { return r.pool->is_forked(); })
      .def_prop_ro("cpus", [](const Runtime& r) { return r.topology.cpus; })
      .def_prop_ro("physical_cores", [](const Runtime& r) { return r.topology.physical_cores; })
      .def_prop_ro("quota_cpus", [](const Runtime& r) { return r.topology.quota_cpus; })
      .def_prop_ro("l1d_bytes", [](const Runtime& r) { return r.topology.l1d_bytes; })
      .def_prop_ro("l2_bytes", [](const Runtime& r) { return r.topology.l2_bytes; })
      .def_prop_ro("l3_bytes", [](const Runtime& r) { return r.topology.l3_bytes; })
      .def_prop_ro("numa_nodes", [](const Runtime& r) { return r.topology.numa_nodes; });
  m.def("trim_memory", [] { malloc_trim(0); }, "Gives freed memory back to the system.");
  m.def(
      "best_isa",
      [](const std::string& max_isa) {
        std::optional<Isa> cap;
        if (!max_isa.empty()) cap = isa_from(max_isa);
        return std::string(isa_name(best_isa(detect_cpu_features(), cap)));
      },
      nb::arg("max_isa") = "", "Best instruction set of this CPU, not above `max_isa`.");
}

}  // namespace colonnade::bindings

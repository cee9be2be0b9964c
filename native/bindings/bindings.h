// One function per bound group; module.cc calls them all.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "base/cpu_features.h"

namespace colonnade::bindings {

namespace nb = nanobind;

using FloatArray = nb::ndarray<const float, nb::device::cpu, nb::c_contig>;
using NumpyFloats = nb::ndarray<nb::numpy, float>;
using NumpyBytes = nb::ndarray<nb::numpy, uint8_t>;

void bind_runtime(nb::module_& m);
void bind_executor(nb::module_& m);
void bind_catalogue(nb::module_& m);
void bind_byte_recurrent(nb::module_& m);
void bind_test_kernels(nb::module_& m);

// 64-byte aligned arrays that Python owns.
NumpyFloats make_floats(int64_t count);
NumpyBytes make_bytes(int64_t count);

inline Isa isa_from(const std::string& name) {
  const std::optional<Isa> isa = parse_isa(name);
  if (!isa) throw nb::value_error("unknown instruction set");
  return *isa;
}

}  // namespace colonnade::bindings

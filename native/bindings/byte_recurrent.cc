// Rows and weight packing of the recurrent layers on bytes.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "bindings/bindings.h"
#include "kernels/qrnn/qrnn.h"

namespace colonnade::bindings {
namespace {

using kernels::RecurrentKind;

using Int8Array = nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu>;
using Int32Array = nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu>;

// (lanes, name)
std::tuple<int, std::string> choose_row(const std::string& isa) {
  const auto& row = kernels::choose_byte_recurrent(isa_from(isa));
  return {row.lanes, row.name};
}

RecurrentKind checked_kind(int kind, int64_t directions, int64_t hidden, int lanes) {
  if (kind < 0 || kind > static_cast<int>(RecurrentKind::gru_reset_behind)) {
    throw nb::value_error("unknown kind of recurrent layer");
  }
  if (lanes < 1 || directions < 1 || hidden < 1) throw nb::value_error("sizes below 1");
  return static_cast<RecurrentKind>(kind);
}

// r: [directions, hidden, gates * hidden].
NumpyBytes pack_weights(int kind, const Int8Array& r, int64_t directions, int64_t hidden,
                        int lanes) {
  const RecurrentKind known = checked_kind(kind, directions, hidden, lanes);
  if (static_cast<int64_t>(r.size()) != directions * hidden * hidden * gate_count(known)) {
    throw nb::value_error("weights are not directions x hidden x gates");
  }
  NumpyBytes packed =
      make_bytes(kernels::byte_recurrent_packed_bytes(known, directions, hidden, lanes));
  const int64_t tiles = kernels::recurrent_tiles(known, hidden, lanes);
  for (int64_t tile = 0; tile < directions * tiles; ++tile) {
    kernels::pack_byte_recurrent_tile(known, hidden, lanes, tile / tiles, tile % tiles, r.data(),
                                      reinterpret_cast<int8_t*>(packed.data()));
  }
  return packed;
}

// rows: [directions, gates * hidden]; the bytes are those of the same type.
template <typename T, typename Array>
NumpyBytes pack_rows(int kind, const Array& rows, int64_t directions, int64_t hidden, int lanes) {
  const RecurrentKind known = checked_kind(kind, directions, hidden, lanes);
  if (static_cast<int64_t>(rows.size()) != directions * hidden * gate_count(known)) {
    throw nb::value_error("values are not directions x gates");
  }
  const int64_t count = kernels::recurrent_row_values(known, directions, hidden, lanes);
  NumpyBytes packed = make_bytes(count * static_cast<int64_t>(sizeof(T)));
  kernels::pack_recurrent_rows<T>(known, directions, hidden, lanes, rows.data(),
                                  reinterpret_cast<T*>(packed.data()));
  return packed;
}

}  // namespace

void bind_byte_recurrent(nb::module_& m) {
  m.def("choose_byte_recurrent", &choose_row, nb::arg("isa"));
  m.def("pack_byte_recurrent", &pack_weights, nb::arg("kind"), nb::arg("r"), nb::arg("directions"),
        nb::arg("hidden"), nb::arg("lanes"));
  m.def("pack_recurrent_scales", &pack_rows<float, FloatArray>, nb::arg("kind"), nb::arg("rows"),
        nb::arg("directions"), nb::arg("hidden"), nb::arg("lanes"));
  m.def("pack_recurrent_sums", &pack_rows<int32_t, Int32Array>, nb::arg("kind"), nb::arg("rows"),
        nb::arg("directions"), nb::arg("hidden"), nb::arg("lanes"));
}

}  // namespace colonnade::bindings

// The read-only kernel catalogue that the planner may see, and weight packing.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <tuple>

#include "bindings/bindings.h"
#include "exec/op.h"
#include "kernels/conv/conv.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/layout/layout.h"
#include "kernels/matmul/matmul.h"
#include "kernels/qmatmul/qmatmul.h"
#include "kernels/rnn/sparse.h"
#include "kernels/sparse_matmul/sparse_matmul.h"

namespace colonnade::bindings {
namespace {

using kernels::ConvShape;

// (row number, name, tile_rows; for rows_matmul tile_lanes)
using RowChoice = std::tuple<int, std::string, int>;

ConvShape conv_shape_from(const std::vector<int64_t>& v) {
  if (v.size() != 16) throw nb::value_error("a convolution shape has 16 numbers");
  return {v[0], v[1], v[2],  v[3],  v[4],  v[5],  v[6],  v[7],
          v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]};
}

template <typename Row>
const Row& row_at(std::span<const Row> rows, int number) {
  if (number < 0 || static_cast<size_t>(number) >= rows.size()) throw nb::index_error();
  return rows[static_cast<size_t>(number)];
}

template <typename Row>
int number_of(std::span<const Row> rows, const Row& row) {
  return static_cast<int>(&row - rows.data());
}

RowChoice choose_matmul_row(const std::string& isa, int64_t m, int64_t k, int64_t l) {
  const auto& row = kernels::choose_matmul(isa_from(isa), m, k, l);
  return {number_of(kernels::matmul_rows(), row), row.name, row.tile_rows};
}

RowChoice choose_rows_matmul_row(const std::string& isa, int64_t l, int64_t m, int64_t k) {
  const auto& row = kernels::choose_rows_matmul(isa_from(isa), l, m, k);
  return {number_of(kernels::rows_matmul_rows(), row), row.name, row.tile_lanes};
}

RowChoice choose_general_row(const std::string& isa, int64_t m, int64_t n, int64_t k) {
  const auto& row = kernels::choose_general_matmul(isa_from(isa), m, n, k);
  return {number_of(kernels::general_matmul_rows(), row), row.name, row.tile_rows};
}

RowChoice choose_conv_row(const std::string& isa, const std::vector<int64_t>& shape,
                          bool transposed) {
  const ConvShape s = conv_shape_from(shape);
  const auto rows = transposed ? kernels::conv_transpose_rows() : kernels::conv_rows();
  const auto& row = transposed ? kernels::choose_conv_transpose(isa_from(isa), s)
                               : kernels::choose_conv(isa_from(isa), s);
  return {number_of(rows, row), row.name, row.tile_rows};
}

RowChoice choose_depthwise_row(const std::string& isa, const std::vector<int64_t>& shape) {
  const auto& row = kernels::choose_depthwise(isa_from(isa), conv_shape_from(shape));
  return {number_of(kernels::depthwise_rows(), row), row.name, 1};
}

// w: [m, k] row-major, or [k, m] when `transposed`.
NumpyFloats pack_matmul(int row, const FloatArray& w, int64_t m, int64_t k, bool transposed) {
  if (static_cast<int64_t>(w.size()) != m * k) throw nb::value_error("weights are not m x k");
  NumpyFloats packed = make_floats(m * k);
  kernels::pack_matmul_weights(w.data(), transposed ? 1 : k, transposed ? m : 1, m, k,
                               row_at(kernels::matmul_rows(), row).tile_rows,
                               static_cast<float*>(packed.data()));
  return packed;
}

NumpyFloats pack_rows(int row, const FloatArray& w, int64_t m, int64_t k, bool transposed) {
  if (static_cast<int64_t>(w.size()) != m * k) throw nb::value_error("weights are not m x k");
  const int32_t lanes = row_at(kernels::rows_matmul_rows(), row).tile_lanes;
  NumpyFloats packed = make_floats(kernels::rows_packed_floats(m, k, lanes));
  kernels::pack_rows_weights(w.data(), transposed ? 1 : k, transposed ? m : 1, m, k, lanes,
                             static_cast<float*>(packed.data()));
  return packed;
}

NumpyFloats pack_conv(int row, const FloatArray& w, const std::vector<int64_t>& shape,
                      bool transposed) {
  const ConvShape s = conv_shape_from(shape);
  const int64_t count = transposed
                            ? s.channels * (s.out_channels / s.group) * s.kernel_h * s.kernel_w
                            : s.out_channels * (s.channels / s.group) * s.kernel_h * s.kernel_w;
  if (static_cast<int64_t>(w.size()) != count)
    throw nb::value_error("weights do not fit the shape");
  NumpyFloats packed = make_floats(count);
  auto* out = static_cast<float*>(packed.data());
  if (transposed) {
    kernels::pack_conv_transpose_weights(w.data(), s, row_at(kernels::conv_transpose_rows(), row),
                                         out);
  } else {
    kernels::pack_conv_weights(w.data(), s, row_at(kernels::conv_rows(), row), out);
  }
  return packed;
}

// (row number, name, largest k_block)
RowChoice choose_sparse_row(const std::string& isa, bool is_conv) {
  if (is_conv) {
    const auto& row = kernels::choose_sparse_conv(isa_from(isa));
    return {number_of(kernels::sparse_conv_rows(), row), row.name,
            static_cast<int>(kernels::sparse_k_block_max(row.panel_lanes))};
  }
  const auto& row = kernels::choose_sparse_matmul(isa_from(isa));
  return {number_of(kernels::sparse_matmul_rows(), row), row.name,
          static_cast<int>(kernels::sparse_k_block_max(row.panel_lanes))};
}

// w: [groups * m, k] row-major, k in the kernel's order. The rows of both sparse tables pack alike.
// `is_integer`: every weight is one, and stays so.
NumpyBytes pack_sparse(int row, const FloatArray& w, int64_t groups, int64_t m, int64_t k,
                       int64_t k_block, bool is_integer) {
  if (static_cast<int64_t>(w.size()) != groups * m * k)
    throw nb::value_error("weights are not m x k");
  const auto& chosen = row_at(kernels::sparse_matmul_rows(), row);
  const auto kind = is_integer ? kernels::SparsePayload::integer : kernels::SparsePayload::float32;
  const auto packed = kernels::pack_sparse_payloads(w.data(), kind, {groups, m, k, k_block},
                                                    chosen.tile_rows, chosen.panel_lanes);
  if (packed.empty()) throw nb::value_error("the depth block does not fit the sparse format");
  NumpyBytes bytes = make_bytes(static_cast<int64_t>(packed.size()));
  std::memcpy(bytes.data(), packed.data(), packed.size());
  return bytes;
}

using Int8Array = nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu>;

// (row number, name, rows of a tile): one row for products, convolutions and depthwise ones.
RowChoice choose_byte_row(const std::string& isa) {
  const auto& row = kernels::choose_byte_matmul(isa_from(isa));
  return {number_of(kernels::byte_matmul_rows(), row), row.name,
          static_cast<int>(kernels::kByteTile)};
}

// (name, instruction set that it needs, columns of a panel), of all rows: tests run those that
// nobody chooses, too.
std::vector<std::tuple<std::string, std::string, int>> list_byte_rows() {
  std::vector<std::tuple<std::string, std::string, int>> rows;
  for (const kernels::ByteMatmulRow& row : kernels::byte_matmul_rows()) {
    rows.emplace_back(row.name, isa_name(row.isa), row.panel_lanes);
  }
  return rows;
}

NumpyBytes bytes_of(const std::vector<std::byte>& packed) {
  NumpyBytes bytes = make_bytes(static_cast<int64_t>(packed.size()));
  std::memcpy(bytes.data(), packed.data(), packed.size());
  return bytes;
}

NumpyBytes pack_bytes(int row, const Int8Array& w, int64_t m, int64_t k) {
  if (static_cast<int64_t>(w.size()) != m * k) throw nb::value_error("weights are not m x k");
  const auto& chosen = row_at(kernels::byte_matmul_rows(), row);
  return bytes_of(kernels::pack_byte_weights(w.data(), m, k, chosen.form));
}

NumpyBytes pack_byte_conv(int row, const Int8Array& w, const std::vector<int64_t>& shape,
                          bool is_depthwise) {
  const ConvShape s = conv_shape_from(shape);
  const int64_t count = s.out_channels * (s.channels / s.group) * s.kernel_h * s.kernel_w;
  if (static_cast<int64_t>(w.size()) != count)
    throw nb::value_error("weights do not fit the shape");
  if (is_depthwise) {
    NumpyBytes packed = make_bytes(kernels::packed_byte_depthwise_weights(s));
    kernels::pack_byte_depthwise_weights(w.data(), s, reinterpret_cast<int8_t*>(packed.data()));
    return packed;
  }
  const auto& chosen = row_at(kernels::byte_matmul_rows(), row);
  return bytes_of(kernels::pack_byte_conv_weights(w.data(), s, chosen.form));
}

// Four weights along k at a time, those that are all zero left out. `shape`: empty for a product,
// whose w is [m, k].
NumpyBytes pack_byte_sparse(int row, const Int8Array& w, int64_t m, int64_t k,
                            const std::vector<int64_t>& shape, int64_t k_block) {
  if (static_cast<int64_t>(w.size()) != m * k) throw nb::value_error("weights are not m x k");
  ConvShape s{};
  if (!shape.empty()) s = conv_shape_from(shape);
  const ConvShape* conv = shape.empty() ? nullptr : &s;
  const std::vector<int8_t> rows = kernels::pad_byte_rows(w.data(), m, k, conv);
  const int64_t groups = conv == nullptr ? 1 : s.group;
  const int64_t depth = static_cast<int64_t>(rows.size()) / m / kernels::kByteGroup;
  const auto& chosen = row_at(kernels::byte_matmul_rows(), row);
  const bool is_bounded = chosen.form == kernels::ByteWeightForm::bounded_fours;
  const auto packed = kernels::pack_sparse_payloads(
      rows.data(),
      is_bounded ? kernels::SparsePayload::bounded_bytes : kernels::SparsePayload::bytes,
      {groups, m / groups, depth, k_block}, static_cast<int32_t>(kernels::kByteTile),
      chosen.panel_lanes);
  if (packed.empty()) throw nb::value_error("the depth block does not fit the sparse format");
  NumpyBytes bytes = make_bytes(static_cast<int64_t>(packed.size()));
  std::memcpy(bytes.data(), packed.data(), packed.size());
  return bytes;
}

kernels::RecurrentKind recurrent_kind(int kind) {
  if (kind < 0 || kind > static_cast<int>(kernels::RecurrentKind::gru_reset_behind)) {
    throw nb::value_error("unknown kind of recurrent layer");
  }
  return static_cast<kernels::RecurrentKind>(kind);
}

// (lanes, name)
std::tuple<int, std::string> choose_recurrent_row(const std::string& isa) {
  const auto& row = kernels::choose_recurrent(isa_from(isa));
  return {row.lanes, row.name};
}

int64_t recurrent_packed_floats(int kind, int64_t directions, int64_t hidden, int lanes) {
  return kernels::recurrent_packed_floats(recurrent_kind(kind), directions, hidden, lanes);
}

// r: [directions, hidden, gates * hidden].
NumpyFloats pack_recurrent(int kind, const FloatArray& r, int64_t directions, int64_t hidden,
                           int lanes) {
  const kernels::RecurrentKind known = recurrent_kind(kind);
  if (lanes < 1 || directions < 1 || hidden < 1 ||
      static_cast<int64_t>(r.size()) != directions * hidden * hidden * gate_count(known)) {
    throw nb::value_error("weights are not directions x hidden x gates");
  }
  NumpyFloats packed =
      make_floats(kernels::recurrent_packed_floats(known, directions, hidden, lanes));
  auto* out = static_cast<float*>(packed.data());
  for (int64_t d = 0; d < directions; ++d) {
    for (int64_t tile = 0; tile < kernels::recurrent_tiles(known, hidden, lanes); ++tile) {
      kernels::pack_recurrent_tile(known, hidden, lanes, d, tile, r.data(), out);
    }
  }
  return packed;
}

// r as for pack_recurrent.
NumpyBytes pack_sparse_recurrent(int kind, const FloatArray& r, int64_t directions, int64_t hidden,
                                 int lanes) {
  const kernels::RecurrentKind known = recurrent_kind(kind);
  if (lanes < 1 || directions < 1 || hidden < 1 ||
      static_cast<int64_t>(r.size()) != directions * hidden * hidden * gate_count(known)) {
    throw nb::value_error("weights are not directions x hidden x gates");
  }
  const auto packed = kernels::pack_sparse_recurrent({known, directions, hidden, lanes}, r.data());
  if (packed.empty()) throw nb::value_error("too many hidden units for sparse weights");
  NumpyBytes bytes = make_bytes(static_cast<int64_t>(packed.size()));
  std::memcpy(bytes.data(), packed.data(), packed.size());
  return bytes;
}

std::vector<std::string> op_names() {
  std::vector<std::string> names;
  for (const exec::Op* op : exec::all_ops()) names.emplace_back(op->name);
  return names;
}

// Positions of the operands that a call of `kernel` with `count` of them may write.
std::vector<int> written_operands(const std::string& kernel, int count) {
  const exec::Op* op = exec::find_op(kernel);
  if (op == nullptr) throw nb::value_error("unknown kernel");
  std::vector<int> written;
  for (int i = 0; i < count; ++i) {
    if (exec::is_written(*op, static_cast<size_t>(i), static_cast<size_t>(count))) {
      written.push_back(i);
    }
  }
  return written;
}

std::vector<std::string> opcode_names() {
  std::vector<std::string> names;
  for (const kernels::OpcodeInfo& opcode : kernels::elementwise_opcodes()) {
    names.emplace_back(opcode.name);
  }
  return names;
}

}  // namespace

void bind_catalogue(nb::module_& m) {
  m.def("op_names", &op_names, "Names of the adapters a Plan may call.");
  m.def("written_operands", &written_operands, nb::arg("kernel"), nb::arg("count"));
  m.def("elementwise_opcodes", &opcode_names, "Opcodes of element-wise programs, by number.");
  m.def(
      "panel_lanes", [](const std::string& isa) { return kernels::panel_lanes(isa_from(isa)); },
      nb::arg("isa"), "Columns in one panel (NB).");
  m.def("choose_matmul", &choose_matmul_row, nb::arg("isa"), nb::arg("m"), nb::arg("k"),
        nb::arg("l"));
  m.def("choose_rows_matmul", &choose_rows_matmul_row, nb::arg("isa"), nb::arg("l"), nb::arg("m"),
        nb::arg("k"));
  m.def("choose_general_matmul", &choose_general_row, nb::arg("isa"), nb::arg("m"), nb::arg("n"),
        nb::arg("k"));
  m.def("choose_conv", &choose_conv_row, nb::arg("isa"), nb::arg("shape"), nb::arg("transposed"));
  m.def("choose_depthwise", &choose_depthwise_row, nb::arg("isa"), nb::arg("shape"));
  m.def("pack_matmul", &pack_matmul, nb::arg("row"), nb::arg("w"), nb::arg("m"), nb::arg("k"),
        nb::arg("transposed"));
  m.def("pack_rows", &pack_rows, nb::arg("row"), nb::arg("w"), nb::arg("m"), nb::arg("k"),
        nb::arg("transposed"));
  m.def("choose_byte_matmul", &choose_byte_row, nb::arg("isa"));
  m.def("byte_matmul_rows", &list_byte_rows);
  m.def("pack_byte_matmul", &pack_bytes, nb::arg("row"), nb::arg("w"), nb::arg("m"), nb::arg("k"));
  m.def("pack_byte_conv", &pack_byte_conv, nb::arg("row"), nb::arg("w"), nb::arg("shape"),
        nb::arg("is_depthwise"));
  m.def("pack_byte_sparse", &pack_byte_sparse, nb::arg("row"), nb::arg("w"), nb::arg("m"),
        nb::arg("k"), nb::arg("shape"), nb::arg("k_block"));
  m.def("choose_sparse", &choose_sparse_row, nb::arg("isa"), nb::arg("is_conv"));
  m.def("pack_sparse", &pack_sparse, nb::arg("row"), nb::arg("w"), nb::arg("groups"), nb::arg("m"),
        nb::arg("k"), nb::arg("k_block"), nb::arg("is_integer") = false);
  m.def("choose_recurrent", &choose_recurrent_row, nb::arg("isa"));
  m.def("recurrent_packed_floats", &recurrent_packed_floats, nb::arg("kind"), nb::arg("directions"),
        nb::arg("hidden"), nb::arg("lanes"));
  m.def("pack_recurrent", &pack_recurrent, nb::arg("kind"), nb::arg("r"), nb::arg("directions"),
        nb::arg("hidden"), nb::arg("lanes"));
  m.def("pack_sparse_recurrent", &pack_sparse_recurrent, nb::arg("kind"), nb::arg("r"),
        nb::arg("directions"), nb::arg("hidden"), nb::arg("lanes"));
  m.def("pack_conv", &pack_conv, nb::arg("row"), nb::arg("w"), nb::arg("shape"),
        nb::arg("transposed"));
}

}  // namespace colonnade::bindings

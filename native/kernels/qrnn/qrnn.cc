#include "kernels/qrnn/qrnn.h"

namespace colonnade {

#define BYTE_RNN_ROW(name, space, isa, lanes)                                                 \
  namespace space {                                                                           \
  void name(const kernels::ByteRecurrentParams&, int64_t, int64_t, int64_t, int64_t, int64_t, \
            int64_t, void*);                                                                  \
  }
#include "kernels/qrnn/kernels.inc"
#undef BYTE_RNN_ROW

namespace kernels {
namespace {

constexpr ByteRecurrentRow kRows[] = {
#define BYTE_RNN_ROW(name, space, isa, lanes) {#name, Isa::isa, lanes, &space::name},
#include "kernels/qrnn/kernels.inc"
#undef BYTE_RNN_ROW
};

constexpr int64_t round_up(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

// Calls visit(gate, hidden unit) for each lane of a tile in the packed order.
template <typename Visit>
void for_each_lane(const RecurrentForm& form, int32_t lanes, int64_t tile, const Visit& visit) {
  const int64_t first = tile * form.blocks * lanes;
  for (int64_t gate = form.first_gate; gate < form.first_gate + form.gates; ++gate) {
    for (int64_t j = first; j < first + form.blocks * lanes; ++j) visit(gate, j);
  }
}

}  // namespace

int64_t recurrent_row_values(RecurrentKind kind, int64_t directions, int64_t hidden,
                             int32_t lanes) {
  const int64_t units =
      recurrent_tiles(kind, hidden, lanes) * recurrent_form(kind, 0).blocks * lanes;
  return directions * gate_count(kind) * units;
}

int64_t byte_recurrent_packed_bytes(RecurrentKind kind, int64_t directions, int64_t hidden,
                                    int32_t lanes) {
  return recurrent_row_values(kind, directions, hidden, lanes) * round_up(hidden, 4);
}

void pack_byte_recurrent_tile(RecurrentKind kind, int64_t hidden, int32_t lanes, int64_t direction,
                              int64_t tile, const int8_t* r, int8_t* packed) {
  const int64_t row = gate_count(kind) * hidden;
  r += direction * hidden * row;
  packed += direction * byte_recurrent_packed_bytes(kind, 1, hidden, lanes);
  for (int64_t phase = 0; phase < phases_per_step(kind); ++phase) {
    const RecurrentForm form = recurrent_form(kind, phase);
    const int64_t tile_bytes = round_up(hidden, 4) * form.gates * form.blocks * lanes;
    int8_t* to = packed + tile * tile_bytes;
    packed += recurrent_tiles(kind, hidden, lanes) * tile_bytes;
    for (int64_t k = 0; k < hidden; k += 4) {
      for_each_lane(form, lanes, tile, [&](int64_t gate, int64_t j) {
        for (int64_t i = k; i < k + 4; ++i) {
          *to++ = i < hidden && j < hidden ? r[i * row + gate * hidden + j] : int8_t{0};
        }
      });
    }
  }
}

template <typename T>
void pack_recurrent_rows(RecurrentKind kind, int64_t directions, int64_t hidden, int32_t lanes,
                         const T* rows, T* packed) {
  for (int64_t d = 0; d < directions; ++d) {
    for (int64_t phase = 0; phase < phases_per_step(kind); ++phase) {
      for (int64_t tile = 0; tile < recurrent_tiles(kind, hidden, lanes); ++tile) {
        for_each_lane(recurrent_form(kind, phase), lanes, tile, [&](int64_t gate, int64_t j) {
          *packed++ = j < hidden ? rows[(d * gate_count(kind) + gate) * hidden + j] : T{};
        });
      }
    }
  }
}

template void pack_recurrent_rows(RecurrentKind, int64_t, int64_t, int32_t, const float*, float*);
template void pack_recurrent_rows(RecurrentKind, int64_t, int64_t, int32_t, const int32_t*,
                                  int32_t*);

int64_t byte_recurrent_scratch_bytes(int64_t items, int64_t hidden) {
  return items * kByteStatePlanes * round_up(hidden, kByteStateAlign);
}

std::span<const ByteRecurrentRow> byte_recurrent_rows() { return kRows; }

const ByteRecurrentRow& choose_byte_recurrent(Isa isa) {
  const ByteRecurrentRow* best = &kRows[0];
  for (const ByteRecurrentRow& row : kRows) {
    if (row.isa <= isa) best = &row;
  }
  return *best;
}

}  // namespace kernels
}  // namespace colonnade

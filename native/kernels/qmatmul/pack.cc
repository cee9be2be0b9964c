// Packed weights of 8-bit products.
#include <algorithm>
#include <cstring>

#include "kernels/qmatmul/qmatmul.h"
#include "kernels/sparse_matmul/bounded_pairs.h"

namespace colonnade::kernels {
namespace {

// Where row m has byte group g of `groups`.
int64_t four_at(int64_t groups, int64_t m, int64_t g) {
  return ((m / kByteTile * groups + g) * kByteTile + m % kByteTile) * kByteGroup;
}

int64_t tile_bytes(int64_t m, int64_t groups) {
  return byte_tiles(m) * groups * kByteTile * kByteGroup;
}

// Bounds the pairs of a tile, and gives what exceeds them: row r's in the first steps that have no
// four for it.
std::vector<ByteExcessStep> hold_excess_apart(int8_t* tile, int64_t groups) {
  std::vector<ByteExcessStep> steps;
  for (int64_t r = 0; r < kByteTile; ++r) {
    size_t count = 0;
    for (int64_t g = 0; g < groups; ++g) {
      int8_t* four = tile + four_at(groups, r, g);
      const BoundedFour bounded = bound_pairs(four);
      if (!bounded.has_excess) continue;
      std::memcpy(four, bounded.main, sizeof bounded.main);
      if (count == steps.size()) steps.push_back({});
      steps[count].group[r] = static_cast<uint16_t>(g);
      std::memcpy(steps[count].weights[r], bounded.excess, sizeof bounded.excess);
      ++count;
    }
  }
  return steps;
}

int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

constexpr int64_t kBlockFours = kByteBlockRows * kByteBlockGroups;

int64_t block_bytes(int64_t m, int64_t groups) {
  return blocks_of(m, kByteBlockRows) * blocks_of(groups, kByteBlockGroups) * kBlockFours *
         kByteGroup;
}

// rows: [m][groups] fours.
std::vector<std::byte> pack_blocks(const std::vector<int8_t>& rows, int64_t m, int64_t groups) {
  const int64_t depth_blocks = blocks_of(groups, kByteBlockGroups);
  // Where the last block along k begins.
  const int64_t last = std::max(groups - kByteBlockGroups, int64_t{0});
  std::vector<std::byte> packed(static_cast<size_t>(block_bytes(m, groups)), std::byte{0});
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t block = g / kByteBlockGroups;
      const int64_t begin = std::min(block * kByteBlockGroups, last);
      const int64_t four = (row / kByteBlockRows * depth_blocks + block) * kBlockFours +
                           row % kByteBlockRows * kByteBlockGroups + g - begin;
      std::memcpy(packed.data() + four * kByteGroup, rows.data() + (row * groups + g) * kByteGroup,
                  kByteGroup);
    }
  }
  return packed;
}

// rows: [m][groups] fours.
std::vector<std::byte> pack_fours(const std::vector<int8_t>& rows, int64_t m, int64_t groups,
                                  bool bounds_pairs) {
  std::vector<int8_t> tiles(static_cast<size_t>(tile_bytes(m, groups)), int8_t{0});
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      std::memcpy(tiles.data() + four_at(groups, row, g),
                  rows.data() + (row * groups + g) * kByteGroup, kByteGroup);
    }
  }
  std::vector<int32_t> first = {0};
  std::vector<ByteExcessStep> excess;
  for (int64_t tile = 0; bounds_pairs && tile < byte_tiles(m); ++tile) {
    const auto steps =
        hold_excess_apart(tiles.data() + tile * groups * kByteTile * kByteGroup, groups);
    excess.insert(excess.end(), steps.begin(), steps.end());
    first.push_back(static_cast<int32_t>(excess.size()));
  }
  const auto begin = reinterpret_cast<const std::byte*>(tiles.data());
  std::vector<std::byte> packed(begin, begin + tiles.size());
  if (!bounds_pairs) return packed;
  const auto table = std::as_bytes(std::span(first)), steps = std::as_bytes(std::span(excess));
  packed.insert(packed.end(), table.begin(), table.end());
  packed.insert(packed.end(), steps.begin(), steps.end());
  return packed;
}

std::vector<std::byte> pack_form(const std::vector<int8_t>& rows, int64_t m, int64_t groups,
                                 ByteWeightForm form) {
  if (form == ByteWeightForm::blocks) return pack_blocks(rows, m, groups);
  return pack_fours(rows, m, groups, form == ByteWeightForm::bounded_fours);
}

}  // namespace

std::vector<int8_t> pad_byte_rows(const int8_t* w, int64_t m, int64_t k, const ConvShape* shape) {
  const int64_t taps = shape == nullptr ? 1 : shape->kernel_h * shape->kernel_w;
  const int64_t channels = k / taps, padded = byte_groups(channels) * kByteGroup;
  std::vector<int8_t> rows(static_cast<size_t>(m * taps * padded), int8_t{0});
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        rows[static_cast<size_t>((row * taps + tap) * padded + c)] =
            w[(row * channels + c) * taps + tap];
      }
    }
  }
  return rows;
}

std::vector<std::byte> pack_byte_weights(const int8_t* w, int64_t m, int64_t k,
                                         ByteWeightForm form) {
  return pack_form(pad_byte_rows(w, m, k, nullptr), m, byte_groups(k), form);
}

std::vector<std::byte> pack_byte_conv_weights(const int8_t* w, const ConvShape& s,
                                              ByteWeightForm form) {
  const int64_t k = s.channels / s.group * s.kernel_h * s.kernel_w;
  return pack_form(pad_byte_rows(w, s.out_channels, k, &s), s.out_channels, byte_conv_groups(s),
                   form);
}

int64_t byte_conv_groups(const ConvShape& s) {
  return byte_groups(s.channels / s.group) * s.kernel_h * s.kernel_w;
}

const char* verify_byte_weights(std::span<const std::byte> packed, int64_t m, int64_t groups,
                                ByteWeightForm form) {
  const bool is_bounded = form == ByteWeightForm::bounded_fours;
  const auto tiles = static_cast<size_t>(byte_tiles(m));
  const auto weights = static_cast<size_t>(form == ByteWeightForm::blocks ? block_bytes(m, groups)
                                                                          : tile_bytes(m, groups));
  const size_t table = is_bounded ? (tiles + 1) * sizeof(int32_t) : 0;
  if (packed.size() < weights + table) return "w is too small";
  if (!is_bounded) return nullptr;
  const ByteWeights w = view_byte_weights(packed.data(), m, groups, form);
  const auto room =
      static_cast<int64_t>((packed.size() - weights - table) / sizeof(ByteExcessStep));
  if (w.first[0] != 0 || w.first[tiles] > room || !std::is_sorted(w.first, w.first + tiles + 1)) {
    return "the table of excess weights is damaged";
  }
  for (int32_t i = 0; i < w.first[tiles]; ++i) {
    for (const uint16_t group : w.excess[i].group) {
      if (group >= groups) return "an excess weight is out of range";
    }
  }
  return nullptr;
}

ByteWeights view_byte_weights(const std::byte* packed, int64_t m, int64_t groups,
                              ByteWeightForm form) {
  const auto* tiles = reinterpret_cast<const int8_t*>(packed);
  if (form != ByteWeightForm::bounded_fours) return {tiles, nullptr, nullptr};
  const auto* first = reinterpret_cast<const int32_t*>(tiles + tile_bytes(m, groups));
  return {tiles, first, reinterpret_cast<const ByteExcessStep*>(first + byte_tiles(m) + 1)};
}

int64_t packed_byte_depthwise_weights(const ConvShape& s) {
  const int64_t taps = byte_groups(s.kernel_h * s.kernel_w) * kByteGroup;
  return byte_tiles(s.channels) * kByteTile * taps;
}

void pack_byte_depthwise_weights(const int8_t* w, const ConvShape& s, int8_t* packed) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  std::fill_n(packed, packed_byte_depthwise_weights(s), int8_t{0});
  for (int64_t c = 0; c < s.channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      packed[four_at(byte_groups(taps), c, tap / kByteGroup) + tap % kByteGroup] =
          w[c * taps + tap];
    }
  }
}

}  // namespace colonnade::kernels

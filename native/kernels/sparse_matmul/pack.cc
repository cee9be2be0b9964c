#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/sparse_matmul/bounded_pairs.h"
#include "kernels/sparse_matmul/sparse_matmul.h"

namespace colonnade::kernels {
namespace {

// A weight of float32, or four of int8.
struct Entry {
  uint16_t offset;
  uint32_t payload;
};

float weight_of(const Entry& entry) {
  float weight = 0.0f;
  std::memcpy(&weight, &entry.payload, sizeof weight);
  return weight;
}

Entry entry_of(uint16_t offset, float weight) {
  Entry entry{offset, 0};
  std::memcpy(&entry.payload, &weight, sizeof weight);
  return entry;
}

bool is_zero(uint32_t payload, SparsePayload kind) {
  // Of float32, -0 is one too.
  return (kind == SparsePayload::float32 ? payload << 1 : payload) == 0;
}

struct RowEntries {
  uint16_t row;  // In the row block.
  std::vector<Entry> entries;
};

void add_entry(RowEntries& row, const Entry& entry, SparsePayload kind) {
  if (kind != SparsePayload::bounded_bytes) return row.entries.push_back(entry);
  int8_t four[4];
  std::memcpy(four, &entry.payload, sizeof four);
  const BoundedFour bounded = bound_pairs(four);
  Entry part = entry;
  std::memcpy(&part.payload, bounded.main, sizeof part.payload);
  row.entries.push_back(part);
  if (!bounded.has_excess) return;
  std::memcpy(&part.payload, bounded.excess, sizeof part.payload);
  row.entries.push_back(part);
}

// ---- writing

class Stream {
 public:
  explicit Stream(std::vector<std::byte>& bytes) : bytes_(bytes) {}

  template <typename T>
  void put(const T& value) {
    const auto* from = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), from, from + sizeof value);
  }

  // Adds a group to the current bucket, or to a new one when kind or steps change.
  void begin_group(SparseKind kind, size_t steps) {
    const auto count = static_cast<uint16_t>(steps);
    if (!is_open_ || bucket_.kind != kind || bucket_.steps != count) {
      bucket_ = {0, kind, 0, count};
      bucket_at_ = bytes_.size();
      put(bucket_);
      is_open_ = true;
    }
    ++bucket_.groups;
    std::memcpy(bytes_.data() + bucket_at_, &bucket_, sizeof bucket_);
  }

  void end_part() { is_open_ = false; }

 private:
  std::vector<std::byte>& bytes_;
  SparseBucket bucket_{};
  size_t bucket_at_ = 0;
  bool is_open_ = false;
};

bool has_same_columns(const RowEntries& a, const RowEntries& b) {
  return std::equal(a.entries.begin(), a.entries.end(), b.entries.begin(), b.entries.end(),
                    [](const Entry& x, const Entry& y) { return x.offset == y.offset; });
}

// Orders rows by length, then by columns: equal patterns become neighbours.
bool comes_before(const RowEntries& a, const RowEntries& b) {
  if (a.entries.size() != b.entries.size()) return a.entries.size() < b.entries.size();
  return std::lexicographical_compare(
      a.entries.begin(), a.entries.end(), b.entries.begin(), b.entries.end(),
      [](const Entry& x, const Entry& y) { return x.offset < y.offset; });
}

// Makes a row longer by zeros, which add nothing to a sum of integers.
void lengthen_by_zeros(RowEntries& row, size_t steps) {
  const uint16_t offset = row.entries.empty() ? uint16_t{0} : row.entries.back().offset;
  while (row.entries.size() < steps) row.entries.push_back({offset, 0});
}

// float32 by halving its largest weight: w x = w/2 x + w/2 x, exactly. False when the half would be
// subnormal, or there is nothing to halve.
bool lengthen(RowEntries& row, size_t steps, SparsePayload kind) {
  if (kind != SparsePayload::float32) {
    lengthen_by_zeros(row, steps);
    return true;
  }
  while (row.entries.size() < steps) {
    const auto largest = std::max_element(row.entries.begin(), row.entries.end(),
                                          [](const Entry& a, const Entry& b) {
                                            return std::abs(weight_of(a)) < std::abs(weight_of(b));
                                          });
    if (largest == row.entries.end()) return false;
    const float half = weight_of(*largest) * 0.5f;
    if (!(std::abs(half) >= std::numeric_limits<float>::min()) || !std::isfinite(half))
      return false;
    *largest = entry_of(largest->offset, half);
    row.entries.push_back(*largest);
  }
  return true;
}

void put_single(const RowEntries& row, Stream& out) {
  out.begin_group(SparseKind::single, row.entries.size());
  out.put(row.row);
  out.put(uint16_t{0});
  for (const Entry& entry : row.entries) {
    out.put(entry.offset);
    out.put(uint16_t{0});
    out.put(entry.payload);
  }
}

void put_lockstep(std::span<const RowEntries> rows, Stream& out) {
  const size_t steps = rows.back().entries.size();
  out.begin_group(SparseKind::lockstep, steps);
  for (const RowEntries& row : rows) out.put(row.row);
  for (size_t i = 0; i < steps; ++i) {
    for (const RowEntries& row : rows) out.put(row.entries[i].offset);
    for (const RowEntries& row : rows) out.put(row.entries[i].payload);
  }
}

void put_shared(std::span<const RowEntries> rows, Stream& out) {
  const size_t steps = rows.front().entries.size();
  out.begin_group(SparseKind::shared, steps);
  for (const RowEntries& row : rows) out.put(row.row);
  for (size_t i = 0; i < steps; ++i) {
    out.put(rows.front().entries[i].offset);
    out.put(uint16_t{0});
    for (const RowEntries& row : rows) out.put(row.entries[i].payload);
  }
}

// Rows sorted by comes_before. First the groups that share their columns, then the others.
void put_rows(std::vector<RowEntries> rows, size_t tile_rows, SparsePayload kind, Stream& out) {
  std::vector<RowEntries> others;
  for (size_t i = 0; i < rows.size();) {
    const bool fits = i + tile_rows <= rows.size() && !rows[i].entries.empty();
    if (fits && has_same_columns(rows[i], rows[i + tile_rows - 1])) {
      put_shared(std::span(rows).subspan(i, tile_rows), out);
      i += tile_rows;
    } else {
      others.push_back(std::move(rows[i++]));
    }
  }
  std::vector<const RowEntries*> singles;
  for (size_t i = 0; i < others.size();) {
    std::span<RowEntries> group = std::span(others).subspan(i);
    const size_t steps = group.size() < tile_rows ? 0 : group[tile_rows - 1].entries.size();
    const bool is_group =
        group.size() >= tile_rows &&
        std::all_of(group.begin(), group.begin() + static_cast<std::ptrdiff_t>(tile_rows),
                    [&](RowEntries& row) {
                      RowEntries longer = row;
                      if (!lengthen(longer, steps, kind)) return row.entries.size() == steps;
                      row = std::move(longer);
                      return true;
                    });
    if (is_group) {
      put_lockstep(group.first(tile_rows), out);
      i += tile_rows;
    } else {
      singles.push_back(&others[i++]);
    }
  }
  for (const RowEntries* row : singles) put_single(*row, out);
}

// ---- reading

struct Walker {
  std::span<const std::byte> bytes;
  size_t at;
  size_t end;

  template <typename T>
  bool take(T& value) {
    if (end - at < sizeof value) return false;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    at += sizeof value;
    return true;
  }
};

// One group's rows and steps: fn_row(row), fn_entry(index in group, offset, weight). False when the
// stream ends early or a kind is unknown.
template <typename OnRow, typename OnEntry>
bool walk_group(Walker& in, const SparseBucket& bucket, size_t tile_rows, const OnRow& on_row,
                const OnEntry& on_entry) {
  const bool is_single = bucket.kind == SparseKind::single;
  const bool is_shared = bucket.kind == SparseKind::shared || is_single;
  const size_t rows = is_single ? 1 : tile_rows;
  uint16_t numbers[16] = {};
  for (size_t r = 0; r < rows; ++r) {
    if (!in.take(numbers[r])) return false;
    on_row(numbers[r]);
  }
  uint16_t padding = 0;
  if (is_single && !in.take(padding)) return false;
  for (uint16_t step = 0; step < bucket.steps; ++step) {
    uint16_t offsets[16] = {};
    for (size_t r = 0; r < (is_shared ? 1 : rows); ++r) {
      if (!in.take(offsets[r])) return false;
    }
    if (is_shared && !in.take(padding)) return false;
    for (size_t r = 0; r < rows; ++r) {
      float weight = 0.0f;
      if (!in.take(weight)) return false;
      on_entry(numbers[r], offsets[is_shared ? 0 : r], weight);
    }
  }
  return true;
}

template <typename OnRow, typename OnEntry>
bool walk_part(Walker in, size_t tile_rows, const OnRow& on_row, const OnEntry& on_entry) {
  while (in.at < in.end) {
    SparseBucket bucket{};
    if (!in.take(bucket)) return false;
    if (bucket.kind > SparseKind::single || bucket.groups == 0) return false;
    for (uint32_t i = 0; i < bucket.groups; ++i) {
      if (!walk_group(in, bucket, tile_rows, on_row, on_entry)) return false;
    }
  }
  return true;
}

// Calls fn(part, group, depth block, row block).
template <typename Fn>
void for_each_part(const SparseGeometry& g, const Fn& fn) {
  int64_t part = 0;
  for (int64_t group = 0; group < g.groups; ++group) {
    for (int64_t t = 0; t < g.k_blocks(); ++t) {
      for (int64_t block = 0; block < g.row_blocks(); ++block) fn(part++, group, t, block);
    }
  }
}

int64_t rows_in(const SparseGeometry& g, int64_t block) {
  return std::min(kSparseRowBlock, g.m - block * kSparseRowBlock);
}

int64_t depth_in(const SparseGeometry& g, int64_t t) {
  return std::min(g.k_block, g.k - t * g.k_block);
}

bool is_middle(const SparseGeometry& g, int64_t t) { return t > 0 && t + 1 < g.k_blocks(); }

}  // namespace

std::vector<std::byte> pack_sparse_payloads(const void* payloads, SparsePayload kind,
                                            const SparseGeometry& g, int32_t tile_rows,
                                            int32_t panel_lanes) {
  if (g.k_block < 1 || g.k_block > sparse_k_block_max(panel_lanes)) return {};
  const auto row_bytes = static_cast<size_t>(panel_lanes) * 4;
  std::vector<int64_t> begins;
  std::vector<std::byte> bytes(static_cast<size_t>(g.parts() + 1) * sizeof(int64_t));
  Stream out(bytes);
  for_each_part(g, [&](int64_t, int64_t group, int64_t t, int64_t block) {
    begins.push_back(static_cast<int64_t>(bytes.size()));
    std::vector<RowEntries> rows;
    for (int64_t r = 0; r < rows_in(g, block); ++r) {
      RowEntries row{static_cast<uint16_t>(r), {}};
      const int64_t first = (group * g.m + block * kSparseRowBlock + r) * g.k + t * g.k_block;
      for (int64_t i = 0; i < depth_in(g, t); ++i) {
        uint32_t payload = 0;
        std::memcpy(&payload, static_cast<const std::byte*>(payloads) + 4 * (first + i), 4);
        if (is_zero(payload, kind)) continue;
        add_entry(row, {static_cast<uint16_t>(static_cast<size_t>(i) * row_bytes), payload}, kind);
      }
      // The first block starts a row and the last one finishes it; others may skip it.
      if (!row.entries.empty() || !is_middle(g, t)) rows.push_back(std::move(row));
    }
    std::stable_sort(rows.begin(), rows.end(), comes_before);
    put_rows(std::move(rows), static_cast<size_t>(tile_rows), kind, out);
    out.end_part();
  });
  begins.push_back(static_cast<int64_t>(bytes.size()));
  std::memcpy(bytes.data(), begins.data(), begins.size() * sizeof(int64_t));
  return bytes;
}

std::vector<std::byte> pack_sparse_weights(const float* w, const SparseGeometry& g,
                                           int32_t tile_rows, int32_t panel_lanes) {
  return pack_sparse_payloads(w, SparsePayload::float32, g, tile_rows, panel_lanes);
}

void unpack_sparse_weights(const std::byte* packed, const SparseGeometry& g, int32_t tile_rows,
                           int32_t panel_lanes, float* w) {
  // In double the parts of a split weight add up exactly, in any order.
  std::vector<double> sums(static_cast<size_t>(g.groups * g.m * g.k), 0.0);
  const auto begin_of = [&](int64_t part) {
    int64_t begin = 0;
    std::memcpy(&begin, packed + static_cast<size_t>(part) * sizeof begin, sizeof begin);
    return static_cast<size_t>(begin);
  };
  const std::span<const std::byte> bytes(packed, begin_of(g.parts()));
  for_each_part(g, [&](int64_t part, int64_t group, int64_t t, int64_t block) {
    double* to = sums.data() + (group * g.m + block * kSparseRowBlock) * g.k + t * g.k_block;
    walk_part(
        {bytes, begin_of(part), begin_of(part + 1)}, static_cast<size_t>(tile_rows),
        [](uint16_t) {},
        [&](uint16_t row, uint16_t offset, float weight) {
          to[row * g.k + offset / (panel_lanes * 4)] += weight;
        });
  });
  std::transform(sums.begin(), sums.end(), w, [](double sum) { return static_cast<float>(sum); });
}

const char* verify_sparse_weights(std::span<const std::byte> packed, const SparseGeometry& g,
                                  int32_t tile_rows, int32_t panel_lanes) {
  if (g.k_block < 1 || g.k_block > sparse_k_block_max(panel_lanes))
    return "depth block out of range";
  const auto table = static_cast<size_t>(g.parts() + 1) * sizeof(int64_t);
  if (packed.size() < table) return "sparse weights are too small";
  std::vector<int64_t> begins(static_cast<size_t>(g.parts() + 1));
  std::memcpy(begins.data(), packed.data(), table);
  const auto size = static_cast<int64_t>(packed.size());
  if (begins.front() != static_cast<int64_t>(table) || begins.back() > size ||
      !std::is_sorted(begins.begin(), begins.end())) {
    return "the table of sparse parts is damaged";
  }
  const char* error = nullptr;
  for_each_part(g, [&](int64_t part, int64_t, int64_t t, int64_t block) {
    if (error != nullptr) return;
    const auto begin = static_cast<size_t>(begins[static_cast<size_t>(part)]);
    const auto end = static_cast<size_t>(begins[static_cast<size_t>(part) + 1]);
    if (begin % 4 != 0) error = "a sparse part is not aligned";
    const int64_t rows = rows_in(g, block);
    const int64_t bytes_max = (depth_in(g, t) - 1) * panel_lanes * 4;
    uint64_t seen = 0;
    bool is_good = true;
    const bool is_whole = walk_part(
        {packed, begin, end}, static_cast<size_t>(tile_rows),
        [&](uint16_t row) {
          is_good = is_good && row < rows && (seen >> row & 1) == 0;
          seen |= uint64_t{1} << (row & 63);
        },
        [&](uint16_t, uint16_t offset, float) {
          is_good = is_good && offset <= bytes_max && offset % (panel_lanes * 4) == 0;
        });
    const uint64_t all = rows == 64 ? ~uint64_t{0} : (uint64_t{1} << rows) - 1;
    if (!is_whole) error = "a sparse part is damaged";
    if (!is_good) error = "a sparse row or column is out of range";
    if (!is_middle(g, t) && seen != all) error = "a sparse part lacks rows";
  });
  return error;
}

}  // namespace colonnade::kernels

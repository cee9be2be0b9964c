// Hostile parameters for the adapters of the families shape, index, integer and quantize: every
// call must be refused by prepare() or run inside its operands. Meant for the address and
// undefined-behaviour sanitizers; without them it still checks that prepare() accepts and refuses
// some of each.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "exec/op.h"

namespace colonnade::exec {

std::span<const Op> shape_ops();
std::span<const Op> index_ops();
std::span<const Op> integer_ops();
std::span<const Op> quantize_ops();

namespace {

// How to make up a call. params: s item size, t element type, i index type, z small size, f flag,
// o operation, d double, L list of dimensions, S list of strides as long as the list before,
// R table runs, B byte sizes.
struct Pattern {
  const char* name;
  const char* params;
  int operands;
};

constexpr Pattern kPatterns[] = {
    {"strided_copy", "sLzS", 2},
    {"copy", "z", 2},
    {"concat", "zB", 3},
    {"split", "zB", 3},
    {"grid_gather", "sLRR", 3},
    {"cast", "ttz", 2},
    {"reverse_sequence", "zzsf", 3},
    {"trilu", "szzzfz", 3},
    {"gather", "izzzz", 3},
    {"gather_elements", "iszzLzS", 3},
    {"gather_nd", "zzLz", 3},
    {"scatter_elements", "otizzzLzS", 4},
    {"scatter_nd", "otzLz", 4},
    {"one_hot", "tszzz", 3},
    {"where", "sLzSzSzS", 4},
    {"arg", "tffzzz", 2},
    {"top_k", "tzfzzz", 3},
    {"scan", "tfffzzz", 2},
    {"map_binary", "ottLzSzS", 3},
    {"map_unary", "otz", 2},
    {"map_variadic", "otfLzSzS", 3},
    {"clip", "tz", 4},
    {"reduce_axes", "otzLSLS", 2},
    {"resample", "zzdoAA", 2},
    {"grid_sample", "zzLzoof", 3},
    {"quantize", "tzzz", 4},
    {"dequantize", "tzzz", 4},
    {"dynamic_scale", "z", 3},
};

class Maker {
 public:
  explicit Maker(uint32_t seed) : random_(seed) {}

  int64_t pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  // Usually small and useful, now and then absurd.
  int64_t size() {
    constexpr int64_t kAbsurd[] = {-1,
                                   std::numeric_limits<int64_t>::min(),
                                   std::numeric_limits<int64_t>::max(),
                                   int64_t{1} << 31,
                                   int64_t{1} << 61,
                                   -4097};
    if (pick(0, 39) == 0) return kAbsurd[pick(0, 5)];
    return pick(0, 5);
  }

  std::vector<int64_t> params(std::string_view pattern) {
    std::vector<int64_t> words;
    for (const char kind : pattern) add(kind, words);
    if (pick(0, 49) == 0) words.resize(static_cast<size_t>(pick(0, std::ssize(words))));
    return words;
  }

 private:
  void add(char kind, std::vector<int64_t>& words) {
    switch (kind) {
      case 's':
        words.push_back(pick(0, 19) == 0 ? size() : int64_t{1} << pick(0, 3));
        break;
      case 't':
        words.push_back(pick(-1, 12));
        break;
      case 'i':
        words.push_back(pick(0, 3) == 0 ? pick(-1, 12) : pick(1, 2));
        break;
      case 'f':
        words.push_back(pick(0, 1));
        break;
      case 'o':
        words.push_back(pick(-1, pick(0, 1) == 0 ? 4 : 18));
        break;
      case 'd':
        words.push_back(0);
        break;
      case 'L':
        length_ = static_cast<size_t>(pick(pick(0, 9) == 0 ? 0 : 1, pick(0, 19) == 0 ? 9 : 3));
        list(words, length_, [&] { return size(); });
        break;
      case 'S':
        list(words, length_, [&] { return pick(0, 9) == 0 ? -pick(0, 5) : size(); });
        break;
      case 'B':
        list(words, 2, [&] {
          const int64_t bytes = size();
          return bytes > 0 && bytes < 9 ? 4 * bytes : bytes;
        });
        break;
      case 'R':
        list(words, static_cast<size_t>(3 * pick(0, 3)), [&] { return pick(-1, 3); });
        break;
      case 'A':
        axis(words);
        break;
      default:
        words.push_back(size());
    }
  }

  template <typename Fn>
  void list(std::vector<int64_t>& words, size_t length, const Fn& fn) {
    words.push_back(static_cast<int64_t>(length));
    for (size_t i = 0; i < length; ++i) words.push_back(fn());
  }

  void axis(std::vector<int64_t>& words) {
    const int64_t in = pick(1, 4);
    const int64_t out = pick(1, 4);
    const int64_t taps = pick(1, 3);
    words.insert(words.end(), {in, out, taps});
    list(words, static_cast<size_t>(out * taps),
         [&] { return pick(0, 19) == 0 ? -1 : pick(0, in - 1); });
    list(words, static_cast<size_t>(out * taps), [&] { return int64_t{0x3FE0000000000000}; });
  }

  std::mt19937 random_;
  size_t length_ = 0;
};

const Op* find(std::string_view name) {
  for (const auto family : {shape_ops(), index_ops(), integer_ops(), quantize_ops()}) {
    for (const Op& op : family) {
      if (op.name == name) return &op;
    }
  }
  return nullptr;
}

// Exactly sized heap blocks, so that the sanitizer sees one byte too many.
struct Operands {
  std::vector<std::unique_ptr<uint64_t[]>> blocks;  // Never null, even with no words.
  std::vector<std::byte*> pointers;
  std::vector<OperandInfo> infos;
};

Operands make_operands(Maker& maker, int count) {
  Operands made;
  for (int i = 0; i < count; ++i) {
    constexpr int64_t kWords[] = {0, 1, 4, 64, 512};
    const int64_t words = kWords[maker.pick(maker.pick(0, 3) == 0 ? 0 : 3, 4)];
    auto block = std::make_unique<uint64_t[]>(static_cast<size_t>(words));
    const bool are_indices = maker.pick(0, 1) == 0;
    for (int64_t word = 0; word < words; ++word) {
      block[static_cast<size_t>(word)] =
          static_cast<uint64_t>(are_indices ? maker.pick(-2, 3) : maker.pick(INT64_MIN, INT64_MAX));
    }
    const bool is_absent = maker.pick(0, 29) == 0;
    made.pointers.push_back(is_absent ? nullptr : reinterpret_cast<std::byte*>(block.get()));
    made.infos.push_back({is_absent ? -1 : words * 8});
    made.blocks.push_back(std::move(block));
  }
  return made;
}

enum class Outcome { refused, ran };

Outcome try_call(const Op& op, const Pattern& pattern, Maker& maker) {
  const int count = maker.pick(0, 49) == 0 ? static_cast<int>(maker.pick(0, 5)) : pattern.operands;
  Operands operands = make_operands(maker, count);
  const std::vector<int64_t> words = maker.params(pattern.params);
  ParamReader reader(words);
  PrepareContext context{reader, operands.infos, Isa::portable};
  Prepared prepared;
  const std::string error = op.prepare(context, prepared);
  if (!error.empty() || !reader.ok() || !reader.at_end()) return Outcome::refused;
  EXPECT(prepared.units >= 0 && prepared.scratch_bytes >= 0);
  if (prepared.scratch_bytes > (1 << 20)) return Outcome::refused;
  std::vector<std::byte> scratch(static_cast<size_t>(prepared.scratch_bytes) + 64);
  auto* aligned =
      reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64);
  for (int64_t begin = 0; begin < prepared.units;) {
    const int64_t end = std::min(prepared.units, begin + maker.pick(1, 1 << maker.pick(0, 12)));
    op.run(prepared.params.get(), {operands.pointers.data(), aligned, begin, end});
    begin = end;
  }
  return Outcome::ran;
}

void fuzz(const Pattern& pattern, int rounds) {
  const Op* op = find(pattern.name);
  if (!EXPECT(op != nullptr)) return;
  int ran = 0;
  for (int round = 0; round < rounds; ++round) {
    Maker maker(static_cast<uint32_t>(round) * 2654435761u + 7u);
    if (try_call(*op, pattern, maker) == Outcome::ran) ++ran;
  }
  std::printf("%-18s %d of %d calls ran\n", pattern.name, ran, rounds);
  EXPECT(ran > rounds / 100);
  EXPECT(ran < rounds);
}

}  // namespace
}  // namespace colonnade::exec

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 4000;
  for (const auto& pattern : colonnade::exec::kPatterns) colonnade::exec::fuzz(pattern, rounds);
  return colonnade::test::finish();
}

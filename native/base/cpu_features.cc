#include "base/cpu_features.h"

#include <array>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace colonnade {
namespace {

constexpr std::array<const char*, kNumIsas> kIsaNames = {"portable", "avx2", "avx512",
                                                         "avx512_vnni", "amx"};

#if defined(__x86_64__)

struct CpuidRegisters {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidRegisters cpuid(unsigned leaf, unsigned subleaf) {
  CpuidRegisters r;
  // Leaves above the CPU's maximum leave all registers zero, which reads as "feature absent".
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

constexpr bool has_bits(std::uint64_t value, std::uint64_t bits) { return (value & bits) == bits; }

constexpr unsigned bit(int idx) { return 1u << idx; }

// XCR0: the register states that the OS saves and restores. Needs OSXSAVE.
std::uint64_t read_xcr0() {
  unsigned low = 0, high = 0;
  // The mnemonic needs -mxsave; the bytes do not.
  __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

// Linux grants AMX tile data per process on request; without it the first tile load traps.
bool request_amx_permission() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

#endif

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures features;
#if defined(__x86_64__)
  constexpr std::uint64_t kYmmState = 0x6;       // SSE and AVX halves
  constexpr std::uint64_t kZmmState = 0xe6;      // plus opmask, upper zmm halves, zmm16-31
  constexpr std::uint64_t kTileState = 0x60000;  // tile configuration and tile data

  const CpuidRegisters leaf1 = cpuid(1, 0);
  constexpr unsigned kOsxsave = bit(27);
  if (!has_bits(leaf1.ecx, kOsxsave)) return features;  // the OS saves no vector state
  const std::uint64_t xcr0 = read_xcr0();
  if (!has_bits(xcr0, kYmmState)) return features;

  const CpuidRegisters leaf7 = cpuid(7, 0);
  const CpuidRegisters leaf7_1 = leaf7.eax >= 1 ? cpuid(7, 1) : CpuidRegisters{};
  constexpr unsigned kFmaAvxF16c = bit(12) | bit(28) | bit(29);
  constexpr unsigned kAvx2Bmi = bit(3) | bit(5) | bit(8);
  features.avx2 = has_bits(leaf1.ecx, kFmaAvxF16c) && has_bits(leaf7.ebx, kAvx2Bmi);
  features.avx_vnni = features.avx2 && has_bits(leaf7_1.eax, bit(4));

  constexpr unsigned kAvx512FDqCdBwVl = bit(16) | bit(17) | bit(28) | bit(30) | bit(31);
  features.avx512 =
      features.avx2 && has_bits(xcr0, kZmmState) && has_bits(leaf7.ebx, kAvx512FDqCdBwVl);
  features.avx512_vnni = features.avx512 && has_bits(leaf7.ecx, bit(11));
  features.avx512_vbmi = features.avx512 && has_bits(leaf7.ecx, bit(1));
  features.avx512_bf16 = features.avx512 && has_bits(leaf7_1.eax, bit(5));

  constexpr unsigned kAmxTile = bit(24);
  const bool has_tiles =
      features.avx512_vnni && has_bits(leaf7.edx, kAmxTile) && has_bits(xcr0, kTileState);
  if (has_tiles && request_amx_permission()) {
    features.amx_int8 = has_bits(leaf7.edx, bit(25));
    features.amx_bf16 = has_bits(leaf7.edx, bit(22));
  }
#endif
  return features;
}

Isa best_isa(const CpuFeatures& features, std::optional<Isa> max_isa) {
  const Isa cap = max_isa.value_or(Isa::amx);
  if (features.amx_int8 && cap >= Isa::amx) return Isa::amx;
  if (features.avx512_vnni && cap >= Isa::avx512_vnni) return Isa::avx512_vnni;
  if (features.avx512 && cap >= Isa::avx512) return Isa::avx512;
  if (features.avx2 && cap >= Isa::avx2) return Isa::avx2;
  return Isa::portable;
}

const char* isa_name(Isa isa) { return kIsaNames[static_cast<std::size_t>(isa)]; }

std::optional<Isa> parse_isa(std::string_view name) {
  for (std::size_t idx = 0; idx < kIsaNames.size(); ++idx) {
    if (name == kIsaNames[idx]) return static_cast<Isa>(idx);
  }
  return std::nullopt;
}

}  // namespace colonnade

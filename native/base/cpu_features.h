// What this processor and this operating system allow, from CPUID, XGETBV and (for AMX) arch_prctl.
// Compiled without ISA flags, so that it runs everywhere before dispatch.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace colonnade {

// Kernel levels in rising order: every level can run the kernels of the levels below it.
enum class Isa : std::uint8_t { portable, avx2, avx512, avx512_vnni, amx };

inline constexpr int kNumIsas = 5;

// A feature is set only if the CPU has it and the OS saves its registers.
struct CpuFeatures {
  bool avx2 = false;  // with FMA, F16C, BMI1 and BMI2, which every such CPU has
  bool avx_vnni = false;
  bool avx512 = false;  // F, BW, DQ, VL and CD: the set of Skylake-SP and Zen 4
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool avx512_vbmi = false;
  bool amx_int8 = false;  // with AMX-TILE, and the kernel granted this process the tile state
  bool amx_bf16 = false;  // same
};

// Asks the CPU. On a machine with AMX it also asks the kernel for permission to use the tiles.
CpuFeatures detect_cpu_features();

// The highest level that `features` allows and that is not above `max_isa` (the value of
// COLONNADE_MAX_ISA, which the caller reads and parses).
Isa best_isa(const CpuFeatures& features, std::optional<Isa> max_isa = std::nullopt);

// "portable", "avx2", "avx512", "avx512_vnni" or "amx".
const char* isa_name(Isa isa);

// Inverse of isa_name; empty for any other text.
std::optional<Isa> parse_isa(std::string_view name);

}  // namespace colonnade

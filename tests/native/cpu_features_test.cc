#include "base/cpu_features.h"

#include "check.h"

namespace colonnade {
namespace {

void test_names_round_trip() {
  for (int idx = 0; idx < kNumIsas; ++idx) {
    const Isa isa = static_cast<Isa>(idx);
    EXPECT(parse_isa(isa_name(isa)) == isa);
  }
  EXPECT(!parse_isa("").has_value());
  EXPECT(!parse_isa("AVX2").has_value());
  EXPECT(!parse_isa("avx").has_value());
}

void test_best_isa_is_capped() {
  CpuFeatures everything;
  everything.avx2 = everything.avx512 = everything.avx512_vnni = everything.amx_int8 = true;
  EXPECT(best_isa(everything) == Isa::amx);
  for (int idx = 0; idx < kNumIsas; ++idx) {
    const Isa isa = static_cast<Isa>(idx);
    EXPECT(best_isa(everything, isa) == isa);
    EXPECT(best_isa(CpuFeatures{}, isa) == Isa::portable);
  }
  CpuFeatures haswell;
  haswell.avx2 = true;
  EXPECT(best_isa(haswell, Isa::avx512) == Isa::avx2);
}

void test_detection_is_consistent() {
  const CpuFeatures features = detect_cpu_features();
  EXPECT(!features.avx512 || features.avx2);
  EXPECT(!features.avx512_vnni || features.avx512);
  EXPECT(!features.amx_int8 || features.avx512_vnni);
}

}  // namespace
}  // namespace colonnade

int main() {
  colonnade::test_names_round_trip();
  colonnade::test_best_isa_is_capped();
  colonnade::test_detection_is_consistent();
  return colonnade::test::finish();
}

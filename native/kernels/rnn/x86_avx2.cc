#include "simd/x86_avx2.h"

#include "kernels/rnn/rnn.h"

namespace colonnade::avx2 {
namespace {

#include "kernels/rnn/rnn_impl.inc"

}  // namespace

void rnn_f32_8_avx2(const kernels::RecurrentParams& params, float* scratch, int64_t unit_begin,
                    int64_t unit_end) {
  run_recurrent(params, scratch, unit_begin, unit_end);
}

}  // namespace colonnade::avx2

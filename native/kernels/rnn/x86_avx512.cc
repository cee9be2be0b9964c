#include "simd/x86_avx512.h"

#include "kernels/rnn/rnn.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/rnn/rnn_impl.inc"

}  // namespace

void rnn_f32_16_avx512(const kernels::RecurrentParams& params, float* scratch, int64_t unit_begin,
                       int64_t unit_end) {
  run_recurrent(params, scratch, unit_begin, unit_end);
}

}  // namespace colonnade::avx512

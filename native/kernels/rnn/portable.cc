#include "simd/portable.h"

#include "kernels/rnn/rnn.h"

namespace colonnade::portable {
namespace {

#include "kernels/rnn/rnn_impl.inc"

}  // namespace

void rnn_f32_4_portable(const kernels::RecurrentParams& params, float* scratch, int64_t unit_begin,
                        int64_t unit_end) {
  run_recurrent(params, scratch, unit_begin, unit_end);
}

}  // namespace colonnade::portable

#include "simd/x86_avx512.h"

#include "kernels/rnn/rnn.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/rnn/rnn_impl.inc"

}  // namespace

void rnn_f32_16_avx512(const kernels::RecurrentParams& params, int64_t phase, int64_t direction,
                       int64_t tile_begin, int64_t tile_end, int64_t item_begin, int64_t item_end) {
  run_recurrent(params, phase, direction, tile_begin, tile_end, item_begin, item_end);
}

}  // namespace colonnade::avx512

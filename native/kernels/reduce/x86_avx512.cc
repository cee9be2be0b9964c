#include "simd/x86_avx512.h"

#include "kernels/reduce/reduce.h"

namespace colonnade::avx512 {
namespace {

#include "kernels/reduce/arg_impl.inc"
#include "kernels/reduce/norm_impl.inc"
#include "kernels/reduce/reduce_impl.inc"
#include "kernels/reduce/softmax_impl.inc"

}  // namespace

void reduce_f32_16_avx512_reduce(const kernels::ReduceParams& params, int64_t begin, int64_t end) {
  run_reduce(params, begin, end);
}

void reduce_f32_16_avx512_arg(const kernels::ArgParams& params, int64_t begin, int64_t end) {
  run_arg(params, begin, end);
}

void reduce_f32_16_avx512_softmax(const kernels::SoftmaxParams& params, int64_t begin,
                                  int64_t end) {
  run_softmax(params, begin, end);
}

void reduce_f32_16_avx512_norm(const kernels::NormParams& params, int64_t begin, int64_t end) {
  run_norm(params, begin, end);
}

void reduce_f32_16_avx512_group_norm(const kernels::GroupNormParams& params, int64_t begin,
                                     int64_t end) {
  run_group_norm(params, begin, end);
}

}  // namespace colonnade::avx512

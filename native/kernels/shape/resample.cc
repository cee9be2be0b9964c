#include "kernels/shape/resample.h"

#include <algorithm>

namespace colonnade::kernels {
namespace {

// An input row and its weight in an output row.
struct Term {
  int64_t row;
  float weight;
};

// The terms of output row `row`; none when it lies outside. Terms may repeat a row.
template <typename Fn>
bool for_each_term(const ResampleParams& p, int64_t row, const Fn& fn) {
  const auto outer_axes = static_cast<size_t>(p.axes - 1);
  std::array<int64_t, kMaxRank> first{};  // Number of the first tap of each axis.
  for (size_t d = outer_axes; d-- > 0;) {
    const ResampleAxis& axis = p.axis[d];
    first[d] = row % axis.out_dim * axis.taps;
    row /= axis.out_dim;
    if (axis.indices[static_cast<size_t>(first[d])] == kOutside) return false;
  }
  for (int64_t c = 0; c < p.combinations; ++c) {
    Term term{row, 1.0f};
    int64_t which = c;
    for (size_t d = 0; d < outer_axes; ++d) {
      const auto tap = static_cast<size_t>(first[d] + which % p.axis[d].taps);
      which /= p.axis[d].taps;
      term.weight *= p.axis[d].weights[tap];
      term.row = term.row * p.axis[d].in_dim + p.axis[d].indices[tap];
    }
    fn(term);
  }
  return true;
}

// The last axis of one row with two taps, inner = 1: what linear resize of images is.
void resample_pairs(const ResampleAxis& axis, float outside, const float* row, float* out) {
  const int32_t* index = axis.indices.data();
  const float* weight = axis.weights.data();
  for (int64_t o = 0; o < axis.out_dim; ++o, index += 2, weight += 2) {
    out[o] = index[0] == kOutside ? outside : weight[0] * row[index[0]] + weight[1] * row[index[1]];
  }
}

// Resamples a row along the last axis.
void resample_row(const ResampleParams& p, const float* row, float* out) {
  const ResampleAxis& axis = p.last();
  if (p.inner == 1 && axis.taps == 2) return resample_pairs(axis, p.outside_value, row, out);
  const int32_t* index = axis.indices.data();
  const float* weight = axis.weights.data();
  for (int64_t o = 0; o < axis.out_dim; ++o, index += axis.taps, weight += axis.taps) {
    for (int64_t i = 0; i < p.inner; ++i, ++out) {
      if (index[0] == kOutside) {
        *out = p.outside_value;
        continue;
      }
      float sum = weight[0] * row[index[0] * p.inner + i];
      for (int64_t k = 1; k < axis.taps; ++k) sum += weight[k] * row[index[k] * p.inner + i];
      *out = sum;
    }
  }
}

// out = (or +=) weight * row.
void add_row(const float* row, float weight, int64_t count, bool is_first, float* out) {
  if (is_first) {
    for (int64_t i = 0; i < count; ++i) out[i] = weight * row[i];
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] += weight * row[i];
  }
}

// Input rows resampled along the last axis, the latest in use kept.
class KeptRows {
 public:
  KeptRows(const ResampleParams& params, const float* in, float* scratch)
      : params_(params), in_(in), scratch_(scratch) {
    rows_.fill(-1);
  }

  const float* get(int64_t row) {
    const int64_t length = params_.out_row();
    for (size_t slot = 0; slot < rows_.size(); ++slot) {
      if (rows_[slot] == row) return scratch_ + static_cast<int64_t>(slot) * length;
    }
    // Round robin: an output row needs fewer rows than there are slots.
    const size_t slot = next_++ % static_cast<size_t>(2 * params_.combinations);
    rows_[slot] = row;
    float* made = scratch_ + static_cast<int64_t>(slot) * length;
    resample_row(params_, in_ + row * params_.in_row(), made);
    return made;
  }

 private:
  const ResampleParams& params_;
  const float* in_;
  float* scratch_;
  std::array<int64_t, 2 * kMaxKeptRows> rows_;
  size_t next_ = 0;
};

// Along the last axis first: rows that several output rows read are resampled once.
void resample_kept(const ResampleParams& p, const float* in, float* out, float* scratch,
                   int64_t begin, int64_t end) {
  const int64_t length = p.out_row();
  KeptRows kept(p, in, scratch);
  for (int64_t row = begin; row < end; ++row) {
    float* to = out + row * length;
    bool is_first = true;
    const bool is_inside = for_each_term(p, row, [&](const Term& term) {
      add_row(kept.get(term.row), term.weight, length, is_first, to);
      is_first = false;
    });
    if (!is_inside) std::fill_n(to, length, p.outside_value);
  }
}

// Along the last axis last: with so many taps a kept row would not live long.
void resample_blended(const ResampleParams& p, const float* in, float* out, float* scratch,
                      int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    float* to = out + row * p.out_row();
    bool is_first = true;
    const bool is_inside = for_each_term(p, row, [&](const Term& term) {
      add_row(in + term.row * p.in_row(), term.weight, p.in_row(), is_first, scratch);
      is_first = false;
    });
    if (is_inside) {
      resample_row(p, scratch, to);
    } else {
      std::fill_n(to, p.out_row(), p.outside_value);
    }
  }
}

bool keeps_rows(const ResampleParams& p) {
  // Outside of a crop the value is not a weighted sum: only blending rows first gets that right.
  const auto& indices = p.last().indices;
  const bool has_outside = std::find(indices.begin(), indices.end(), kOutside) != indices.end();
  return p.combinations <= kMaxKeptRows && !has_outside;
}

}  // namespace

int64_t resample_scratch_floats(const ResampleParams& params) {
  return keeps_rows(params) ? 2 * params.combinations * params.out_row() : params.in_row();
}

void resample(const ResampleParams& params, const float* in, float* out, float* scratch,
              int64_t begin, int64_t end) {
  if (keeps_rows(params)) {
    resample_kept(params, in, out, scratch, begin, end);
  } else {
    resample_blended(params, in, out, scratch, begin, end);
  }
}

}  // namespace colonnade::kernels

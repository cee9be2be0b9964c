// Adapters that move items without computing: copies, concatenation, gathers by table, casts,
// resampling. All tensors are row-major; concat and split also serve column panels (see there).
#include <bit>
#include <cstring>
#include <vector>

#include "base/dtype.h"
#include "exec/op.h"
#include "exec/ops/check.h"
#include "exec/ops/space_params.h"
#include "kernels/shape/cast.h"
#include "kernels/shape/copy.h"
#include "kernels/shape/grid_gather.h"
#include "kernels/shape/grid_sample.h"
#include "kernels/shape/resample.h"

namespace colonnade::exec {
namespace {

// ---- strided_copy: item_bytes, space of the source. operands: source, destination.

std::string prepare_copy(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<kernels::CopyParams>();
  p->item_bytes = context.params.integer();
  if (!is_item_bytes(p->item_bytes)) return "item size out of range";
  std::string error = read_space<1>(context, {p->item_bytes}, p->space, p->elements);
  if (!error.empty()) return error;
  if (!holds(context, 1, p->elements, p->item_bytes)) return "destination is too small";
  kernels::plan_copy(*p);
  prepared.units = p->units;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_copy(const void* params, const RunContext& context) {
  kernels::copy_strided(*static_cast<const kernels::CopyParams*>(params), context.operands[0],
                        context.operands[1], context.begin, context.end);
  return {};
}

// ---- copy: bytes. operands: source, destination.

constexpr int64_t kCopyChunk = 16384;

struct Copy {
  int64_t bytes;
};

std::string prepare_bytes(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Copy>(Copy{context.params.integer()});
  if (!holds(context, 0, p->bytes, 1)) return "source is too small";
  if (!holds(context, 1, p->bytes, 1)) return "destination is too small";
  prepared.units = ceil_div(p->bytes, kCopyChunk);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_bytes(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Copy*>(params);
  const int64_t begin = context.begin * kCopyChunk;
  const int64_t end = std::min(context.end * kCopyChunk, p.bytes);
  std::memcpy(context.operands[1] + begin, context.operands[0] + begin,
              static_cast<size_t>(end - begin));
  return {};
}

// ---- concat: outer, bytes of each part's row. operands: parts, whole.
// ---- split:  outer, bytes of each part's row. operands: whole, parts.
// Units are (row, part). Panels are rows too: outer = panels, bytes = features * NB * 4, of tensors
// of bytes groups * NB * 4.

struct Parts {
  int64_t count;
  int64_t row_bytes;
  std::vector<int64_t> bytes;
  std::vector<int64_t> offsets;
};

std::string prepare_parts(PrepareContext& context, Prepared& prepared, bool is_split) {
  auto p = std::make_shared<Parts>();
  const int64_t outer = context.params.integer();
  const auto bytes = context.params.list();
  p->bytes.assign(bytes.begin(), bytes.end());
  p->count = static_cast<int64_t>(bytes.size());
  p->row_bytes = 0;
  if (outer < 0 || bytes.empty()) return "sizes out of range";
  if (context.operands.size() != bytes.size() + 1) return "number of operands and sizes differ";
  for (size_t i = 0; i < bytes.size(); ++i) {
    p->offsets.push_back(p->row_bytes);
    if (!holds(context, is_split ? i + 1 : i, checked_product({outer, bytes[i]}), 1)) {
      return "part " + std::to_string(i) + " is too small";
    }
    if (bytes[i] < 0 || __builtin_add_overflow(p->row_bytes, bytes[i], &p->row_bytes)) {
      return "sizes out of range";
    }
  }
  if (!holds(context, is_split ? 0 : bytes.size(), checked_product({outer, p->row_bytes}), 1)) {
    return "whole is too small";
  }
  prepared.units = outer * p->count;
  prepared.units_per_panel = p->count;
  for (const int64_t part : p->bytes) prepared.uses.push_back({Access::same, is_split, part});
  const PanelUse whole = {Access::same, !is_split, p->row_bytes};
  prepared.uses.insert(is_split ? prepared.uses.begin() : prepared.uses.end(), whole);
  prepared.params = std::move(p);
  return "";
}

std::string prepare_concat(PrepareContext& context, Prepared& prepared) {
  return prepare_parts(context, prepared, false);
}

std::string prepare_split(PrepareContext& context, Prepared& prepared) {
  return prepare_parts(context, prepared, true);
}

template <typename Fn>
void for_each_part(const Parts& p, const RunContext& context, const Fn& fn) {
  for (int64_t unit = context.begin; unit < context.end; ++unit) {
    const auto part = static_cast<size_t>(unit % p.count);
    const int64_t row = unit / p.count;
    fn(part, row * p.bytes[part], row * p.row_bytes + p.offsets[part]);
  }
}

RunStatus run_concat(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Parts*>(params);
  std::byte* whole = context.operands[p.count];
  for_each_part(p, context, [&](size_t part, int64_t part_offset, int64_t whole_offset) {
    std::memcpy(whole + whole_offset, context.operands[part] + part_offset,
                static_cast<size_t>(p.bytes[part]));
  });
  return {};
}

RunStatus run_split(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Parts*>(params);
  const std::byte* whole = context.operands[0];
  for_each_part(p, context, [&](size_t part, int64_t part_offset, int64_t whole_offset) {
    std::memcpy(context.operands[part + 1] + part_offset, whole + whole_offset,
                static_cast<size_t>(p.bytes[part]));
  });
  return {};
}

// ---- grid_gather: item_bytes, in_dims, then per axis the runs (first, step, count)*.
// operands: source, fill (optional), destination.

constexpr int64_t kShortRun = 8;  // Below this average length a table beats runs.
constexpr int64_t kRowChunk = 4096;

struct GridGather {
  kernels::GridGatherParams params;
  int64_t rows_per_unit;
};

std::string read_runs(std::span<const int64_t> words, int64_t in_dim, int64_t limit,
                      std::vector<kernels::TableRun>& runs, int64_t& out_dim) {
  if (words.size() % 3 != 0) return "table runs are truncated";
  out_dim = 0;
  for (size_t i = 0; i < words.size(); i += 3) {
    const kernels::TableRun run{words[i], words[i + 1], words[i + 2]};
    if (run.count <= 0 || run.count > limit - out_dim) return "table is longer than its output";
    if (run.first != kernels::kFill) {
      const int64_t count[] = {run.count};
      const int64_t step[] = {run.step};
      if (!is_within(count, step, run.first, in_dim)) return "table index out of range";
    }
    out_dim += run.count;
    runs.push_back(run);
  }
  return "";
}

// Position by position, in elements of `stride`.
std::vector<int64_t> expand_runs(const std::vector<kernels::TableRun>& runs, int64_t stride) {
  std::vector<int64_t> table;
  for (const kernels::TableRun& run : runs) {
    for (int64_t i = 0; i < run.count; ++i) {
      table.push_back(run.first == kernels::kFill ? kernels::kFill
                                                  : (run.first + i * run.step) * stride);
    }
  }
  return table;
}

// How often the runs repeat every element of the axis in turn; 1 when they do something else.
int64_t find_repeat(const std::vector<kernels::TableRun>& runs, int64_t in_dim) {
  if (std::ssize(runs) != in_dim || runs.empty() || runs[0].count < 2) return 1;
  for (int64_t i = 0; i < in_dim; ++i) {
    const kernels::TableRun& run = runs[static_cast<size_t>(i)];
    if (run.first != i || run.step != 0 || run.count != runs[0].count) return 1;
  }
  return runs[0].count;
}

std::string read_grid(PrepareContext& context, kernels::GridGatherParams& p) {
  p.item_bytes = context.params.integer();
  if (!is_item_bytes(p.item_bytes)) return "item size out of range";
  const auto dims = context.params.list();
  if (dims.empty() || dims.size() > kMaxRank) return "rank out of range";
  if (!holds(context, 0, num_elements(dims), p.item_bytes)) return "source is too small";
  if (context.operands.size() != 3 || !context.operands[2].present()) return "no destination";
  if (context.operands[1].present() && !holds(context, 1, 1, p.item_bytes)) return "fill too small";
  p.rank = static_cast<int>(dims.size());
  // Of an empty source nothing is read, and its other sizes may be too large to multiply.
  int64_t stride = num_elements(dims) == 0 ? 0 : 1;
  for (size_t d = dims.size(); d-- > 0; stride *= dims[d]) p.in_strides[d] = stride;
  const int64_t limit = context.operands[2].bytes / p.item_bytes;
  for (size_t d = 0; d < dims.size(); ++d) {
    std::vector<kernels::TableRun> runs;
    std::string error = read_runs(context.params.list(), dims[d], limit, runs, p.out_dims[d]);
    if (!error.empty()) return error;
    if (d + 1 < dims.size()) {
      p.offsets[d] = expand_runs(runs, p.in_strides[d]);
    } else {
      p.last_repeat = find_repeat(runs, dims[d]);
      if (p.out_dims[d] < kShortRun * static_cast<int64_t>(runs.size())) {
        p.last_table = expand_runs(runs, 1);
      }
      p.last = std::move(runs);
    }
  }
  const std::span<const int64_t> out(p.out_dims.data(), dims.size());
  if (!holds(context, 2, num_elements(out), p.item_bytes)) return "destination is too small";
  p.rows = out.back() == 0 ? 0 : num_elements(out.first(out.size() - 1));
  return "";
}

std::string prepare_grid_gather(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<GridGather>();
  if (std::string error = read_grid(context, p->params); !error.empty()) return error;
  const int64_t cols = p->params.out_dims[static_cast<size_t>(p->params.rank - 1)];
  p->rows_per_unit = cols > 0 ? ceil_div(kRowChunk, cols) : 1;
  prepared.units = ceil_div(p->params.rows, p->rows_per_unit);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_grid_gather(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const GridGather*>(params);
  kernels::grid_gather(p.params, context.operands[0], context.operands[1], context.operands[2],
                       context.begin * p.rows_per_unit,
                       std::min(context.end * p.rows_per_unit, p.params.rows));
  return {};
}

// ---- resample: outer, inner, outside_value, number of axes, then per axis: in_dim, out_dim, taps,
// indices, weights. operands: source, destination. fp32.

constexpr int64_t kResampleRows = 16;  // Rows of a unit: enough to share what neighbours read.

std::string read_axis(PrepareContext& context, kernels::ResampleAxis& axis) {
  axis.in_dim = context.params.integer();
  axis.out_dim = context.params.integer();
  axis.taps = context.params.integer();
  const auto indices = context.params.list();
  const auto weights = context.params.list();
  const int64_t entries = checked_product({axis.out_dim, axis.taps});
  if (entries < 1 || axis.in_dim < 1 || axis.in_dim >= (int64_t{1} << 31)) {
    return "axis sizes out of range";
  }
  if (static_cast<int64_t>(indices.size()) != entries || weights.size() != indices.size()) {
    return "tables do not fit the axis";
  }
  for (size_t i = 0; i < indices.size(); ++i) {
    const bool is_first = static_cast<int64_t>(i) % axis.taps == 0;
    if (indices[i] < (is_first ? kernels::kOutside : 0) || indices[i] >= axis.in_dim) {
      return "table index out of range";
    }
    axis.weights.push_back(static_cast<float>(std::bit_cast<double>(weights[i])));
    axis.indices.push_back(static_cast<int32_t>(indices[i]));
  }
  return "";
}

std::string prepare_resample(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<kernels::ResampleParams>();
  p->outer = context.params.integer();
  p->inner = context.params.integer();
  p->outside_value = context.params.real32();
  const int64_t axes = context.params.integer();
  if (axes < 1 || axes > kMaxRank) return "number of axes out of range";
  p->axes = static_cast<int>(axes);
  int64_t in = checked_product({p->outer, p->inner});
  int64_t out = in;
  for (size_t d = 0; d < static_cast<size_t>(axes); ++d) {
    if (std::string error = read_axis(context, p->axis[d]); !error.empty()) return error;
    in = checked_product({in, p->axis[d].in_dim});
    out = checked_product({out, p->axis[d].out_dim});
  }
  if (in < 1 || out < 1) return "sizes out of range";
  if (!holds(context, 0, in, 4)) return "source is too small";
  if (!holds(context, 1, out, 4)) return "destination is too small";
  p->rows = out / p->out_row();
  for (size_t d = 0; d + 1 < static_cast<size_t>(axes); ++d) {
    p->combinations = checked_product({p->combinations, p->axis[d].taps});
  }
  if (p->combinations < 1) return "taps out of range";
  prepared.units = ceil_div(p->rows, kResampleRows);
  prepared.scratch_bytes = kernels::resample_scratch_floats(*p) * 4;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_resample(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const kernels::ResampleParams*>(params);
  kernels::resample(p, as<float>(context, 0), as_mutable<float>(context, 1),
                    reinterpret_cast<float*>(context.scratch), context.begin * kResampleRows,
                    std::min(context.end * kResampleRows, p.rows));
  return {};
}

// ---- grid_sample: batch, channels, dims, points, mode, padding, is_aligned.
// operands: image, grid, output. fp32.

constexpr int64_t kPointChunk = 64;

std::string prepare_grid_sample(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<kernels::GridSampleParams>();
  p->batch = context.params.integer();
  p->channels = context.params.integer();
  const auto dims = context.params.list();
  p->points = context.params.integer();
  const int64_t mode = context.params.integer();
  const int64_t padding = context.params.integer();
  p->is_aligned = context.params.integer() != 0;
  if (mode < 0 || mode > 2 || padding < 0 || padding > 2) return "unknown mode";
  p->mode = static_cast<kernels::SampleMode>(mode);
  p->padding = static_cast<kernels::SamplePadding>(padding);
  const size_t most = p->mode == kernels::SampleMode::cubic ? 2 : kernels::kMaxSampleAxes;
  if (dims.empty() || dims.size() > most) return "number of axes out of range";
  p->axes = static_cast<int>(dims.size());
  std::copy(dims.begin(), dims.end(), p->dims.begin());
  const int64_t images = checked_product({p->batch, p->channels});
  const int64_t pixels = checked_product({images, num_elements(dims)});
  if (pixels < 1 || p->points < 1) return "sizes out of range";
  if (!holds(context, 0, pixels, 4)) return "image is too small";
  if (!holds(context, 1, checked_product({p->batch, p->points, p->axes}), 4)) {
    return "grid is too small";
  }
  if (!holds(context, 2, checked_product({images, p->points}), 4)) return "output is too small";
  prepared.units = ceil_div(p->batch * p->points, kPointChunk);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_grid_sample(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const kernels::GridSampleParams*>(params);
  kernels::grid_sample(p, as<float>(context, 0), as<float>(context, 1),
                       as_mutable<float>(context, 2), context.begin * kPointChunk,
                       std::min(context.end * kPointChunk, p.batch * p.points));
  return {};
}

// ---- cast: from, to, elements. operands: source, destination.

struct Cast {
  kernels::CastFn run;
  int64_t from_bytes;
  int64_t to_bytes;
  int64_t elements;
};

std::string prepare_cast(PrepareContext& context, Prepared& prepared) {
  const auto from = static_cast<DType>(context.params.integer());
  const auto to = static_cast<DType>(context.params.integer());
  const int64_t elements = context.params.integer();
  auto p = std::make_shared<Cast>(
      Cast{kernels::find_cast(from, to), item_bytes(from), item_bytes(to), elements});
  if (p->run == nullptr) return "unknown element type";
  if (!holds(context, 0, elements, p->from_bytes)) return "source is too small";
  if (!holds(context, 1, elements, p->to_bytes)) return "destination is too small";
  prepared.units = chunk_units(elements);
  prepared.params = std::move(p);
  return "";
}

RunStatus run_cast(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Cast*>(params);
  const int64_t begin = context.begin * kChunk;
  const int64_t end = std::min(context.end * kChunk, p.elements);
  p.run(context.operands[0] + begin * p.from_bytes, context.operands[1] + begin * p.to_bytes,
        end - begin);
  return {};
}

// ---- reverse_sequence: d0, d1, bytes of one (d0, d1) item, time_axis (0 or 1).
// operands: source, lengths (int64, one per index of the other axis), destination.

struct ReverseSequence {
  int64_t rows;
  int64_t cols;
  int64_t bytes;
  bool is_time_first;
};

std::string prepare_reverse(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<ReverseSequence>();
  p->rows = context.params.integer();
  p->cols = context.params.integer();
  p->bytes = context.params.integer();
  p->is_time_first = context.params.integer() == 0;
  const int64_t bytes = checked_product({p->rows, p->cols, p->bytes});
  if (bytes < 0) return "sizes out of range";
  if (!holds(context, 0, bytes, 1)) return "source is too small";
  if (!holds(context, 1, p->is_time_first ? p->cols : p->rows, 8)) return "lengths are too few";
  if (!holds(context, 2, bytes, 1)) return "destination is too small";
  prepared.units = p->rows;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_reverse(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const ReverseSequence*>(params);
  const int64_t* lengths = as<int64_t>(context, 1);
  const int64_t steps = p.is_time_first ? p.rows : p.cols;
  for (int64_t row = context.begin; row < context.end; ++row) {
    for (int64_t col = 0; col < p.cols; ++col) {
      const int64_t batch = p.is_time_first ? col : row;
      const int64_t time = p.is_time_first ? row : col;
      const int64_t length = lengths[batch];
      if (length < 0 || length > steps) {
        return {RunCode::index_out_of_range, batch, length, steps + 1};
      }
      const int64_t from = time < length ? length - 1 - time : time;
      const int64_t source = p.is_time_first ? from * p.cols + col : row * p.cols + from;
      std::memcpy(context.operands[2] + (row * p.cols + col) * p.bytes,
                  context.operands[0] + source * p.bytes, static_cast<size_t>(p.bytes));
    }
  }
  return {};
}

// ---- trilu: item_bytes, matrices, rows, cols, upper, k. operands: source, k (optional int64; it
// replaces the parameter), destination.

struct Trilu {
  int64_t item_bytes;
  int64_t matrices;
  int64_t rows;
  int64_t cols;
  bool is_upper;
  int64_t k;
};

std::string prepare_trilu(PrepareContext& context, Prepared& prepared) {
  auto p = std::make_shared<Trilu>();
  p->item_bytes = context.params.integer();
  p->matrices = context.params.integer();
  p->rows = context.params.integer();
  p->cols = context.params.integer();
  p->is_upper = context.params.integer() != 0;
  p->k = context.params.integer();
  if (!is_item_bytes(p->item_bytes)) return "item size out of range";
  const int64_t elements = checked_product({p->matrices, p->rows, p->cols});
  if (!holds(context, 0, elements, p->item_bytes)) return "source is too small";
  if (!holds(context, 2, elements, p->item_bytes)) return "destination is too small";
  if (context.operands[1].present() && !holds(context, 1, 1, 8)) return "k is too small";
  prepared.units = elements == 0 ? 0 : p->matrices * p->rows;
  prepared.params = std::move(p);
  return "";
}

RunStatus run_trilu(const void* params, const RunContext& context) {
  const auto& p = *static_cast<const Trilu*>(params);
  const int64_t k = context.operands[1] != nullptr ? *as<int64_t>(context, 1) : p.k;
  for (int64_t unit = context.begin; unit < context.end; ++unit) {
    const int64_t row = unit % p.rows;
    // The first column above the diagonal k (upper keeps from it on, lower keeps what is before).
    const int64_t shift = std::clamp(k, -p.rows - 1, p.cols + 1);
    const int64_t edge = std::clamp(row + shift + (p.is_upper ? 0 : 1), int64_t{0}, p.cols);
    const int64_t keep_begin = p.is_upper ? edge : 0;
    const int64_t keep_end = p.is_upper ? p.cols : edge;
    std::byte* to = context.operands[2] + unit * p.cols * p.item_bytes;
    const std::byte* from = context.operands[0] + unit * p.cols * p.item_bytes;
    std::memset(to, 0, static_cast<size_t>(keep_begin * p.item_bytes));
    std::memcpy(to + keep_begin * p.item_bytes, from + keep_begin * p.item_bytes,
                static_cast<size_t>((keep_end - keep_begin) * p.item_bytes));
    std::memset(to + keep_end * p.item_bytes, 0,
                static_cast<size_t>((p.cols - keep_end) * p.item_bytes));
  }
  return {};
}

constexpr Op kOps[] = {
    {"strided_copy", &prepare_copy, &run_copy, kLast},
    {"copy", &prepare_bytes, &run_bytes, kLast},
    {"concat", &prepare_concat, &run_concat, kLast},
    {"split", &prepare_split, &run_split, {1, -1}},
    {"grid_gather", &prepare_grid_gather, &run_grid_gather, kLast},
    {"resample", &prepare_resample, &run_resample, kLast},
    {"grid_sample", &prepare_grid_sample, &run_grid_sample, kLast},
    {"cast", &prepare_cast, &run_cast, kLast},
    {"reverse_sequence", &prepare_reverse, &run_reverse, kLast},
    {"trilu", &prepare_trilu, &run_trilu, kLast},
};

}  // namespace

std::span<const Op> shape_ops() { return kOps; }

}  // namespace colonnade::exec

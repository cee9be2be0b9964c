// The list of adapter families. A new family adds one declaration and one line.
#include <string_view>
#include <vector>

#include "exec/op.h"

namespace colonnade::exec {

#define COLONNADE_OP_FAMILIES(X) \
  X(matmul)                      \
  X(conv)                        \
  X(sparse)                      \
  X(layout)                      \
  X(elementwise)                 \
  X(reduce)                      \
  X(attention)                   \
  X(pool)                        \
  X(rnn)                         \
  X(qrnn)                        \
  X(shape)                       \
  X(index)                       \
  X(integer)                     \
  X(quantize)                    \
  X(quantized)                   \
  X(pair_product)                \
  X(bytes)

#define DECLARE(family) std::span<const Op> family##_ops();
COLONNADE_OP_FAMILIES(DECLARE)
#undef DECLARE

namespace {

std::vector<const Op*> gather_ops() {
  std::vector<const Op*> ops;
#define ADD(family) \
  for (const Op& op : family##_ops()) ops.push_back(&op);
  COLONNADE_OP_FAMILIES(ADD)
#undef ADD
  return ops;
}

const std::vector<const Op*>& ops() {
  static const std::vector<const Op*> gathered = gather_ops();
  return gathered;
}

}  // namespace

bool is_written(const Op& op, size_t index, size_t count) {
  const auto i = static_cast<int64_t>(index), all = static_cast<int64_t>(count);
  const int64_t first = op.written.first < 0 ? all + op.written.first : op.written.first;
  const int64_t end = op.written.count < 0 ? all : first + op.written.count;
  return i >= first && i < end;
}

std::span<const Op* const> all_ops() { return ops(); }

const Op* find_op(std::string_view name) {
  for (const Op* op : ops()) {
    if (op->name == name) return op;
  }
  return nullptr;
}

}  // namespace colonnade::exec

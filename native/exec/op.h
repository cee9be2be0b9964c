// The adapter between a Plan's Call and a kernel. One adapter per kernel name in native/exec/ops/.
//
// `prepare` runs once when a plan is loaded: it reads the parameters, checks every size against the
// operands (a plan may come from a file: nothing is trusted) and fills Prepared. `run` runs on
// several threads at once, each with its own unit range and scratch; it cannot fail except by data
// (an index out of range), which it reports by status. An op whose `prepare` fills `uses` can be
// part of a Stripe: its operands may then be windows, of which only the panels in reach exist.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "exec/reach.h"

namespace colonnade::exec {

// Reads the words of Plan.encode_params. Reading past the end sets ok() to false and gives zeros.
class ParamReader {
 public:
  explicit ParamReader(std::span<const int64_t> words) : words_(words) {}
  int64_t integer();
  // A real written as the bits of a double.
  double real();
  float real32() { return static_cast<float>(real()); }
  // A tuple: its length, then that many words.
  std::span<const int64_t> list();
  bool ok() const { return ok_; }
  bool at_end() const { return next_ == words_.size(); }

 private:
  std::span<const int64_t> words_;
  size_t next_ = 0;
  bool ok_ = true;
};

// What prepare may know of an operand: its size, and the bytes of a constant. Absent operands have
// bytes == -1.
struct OperandInfo {
  int64_t bytes = -1;
  const std::byte* data = nullptr;
  bool present() const { return bytes >= 0; }
};

struct Prepared {
  std::shared_ptr<const void> params;  // The adapter's own POD.
  int64_t units = 1;                   // Work items that run() may be split into.
  int64_t waves = 1;            // Rounds over all units; a round sees what those before made.
  int64_t units_per_panel = 0;  // > 0: unit u belongs to panel u / units_per_panel.
  int64_t scratch_bytes = 0;    // Per thread, 64-byte aligned.
  std::vector<PanelUse> uses;   // Per operand; empty: the call cannot be in a Stripe.
  Reach reach;                  // Of the operand whose use says so.
};

enum class RunCode : int32_t { ok = 0, index_out_of_range = 1, bad_value = 2 };

struct RunStatus {
  RunCode code = RunCode::ok;
  int64_t position = 0;  // Flat position of the offending element.
  int64_t value = 0;     // The offending value.
  int64_t limit = 0;     // What it should have been below.
};

struct RunContext {
  std::byte* const* operands;  // One pointer per operand; null when absent.
  std::byte* scratch;          // This thread's scratch.
  int64_t begin;               // Unit range [begin, end).
  int64_t end;
  int64_t wave = 0;
};

struct PrepareContext {
  ParamReader& params;
  std::span<const OperandInfo> operands;
  Isa isa;
};

// Returns an empty string, or the reason why the call is invalid.
using PrepareFn = std::string (*)(PrepareContext&, Prepared&);
using RunFn = RunStatus (*)(const void* params, const RunContext&);

// The operands that `run` may write: `count` from `first` on. A negative `first` counts from the
// last one, a negative `count` reaches to it.
struct Written {
  int first;
  int count;
};
inline constexpr Written kLast{-1, 1};

struct Op {
  const char* name;
  PrepareFn prepare;
  RunFn run;
  Written written;
};

// Whether `op` may write operand `index` of `count`.
bool is_written(const Op& op, size_t index, size_t count);

// Every adapter, gathered from the families listed in registry.cc.
const Op* find_op(std::string_view name);
std::span<const Op* const> all_ops();

}  // namespace colonnade::exec

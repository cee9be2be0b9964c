#include "exec/plan.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

namespace colonnade::exec {

int64_t ParamReader::integer() {
  if (next_ >= words_.size()) {
    ok_ = false;
    return 0;
  }
  return words_[next_++];
}

double ParamReader::real() { return std::bit_cast<double>(integer()); }

std::span<const int64_t> ParamReader::list() {
  const int64_t length = integer();
  if (length < 0 || static_cast<uint64_t>(length) > words_.size() - next_) {
    ok_ = false;
    return {};
  }
  const auto items = words_.subspan(next_, static_cast<size_t>(length));
  next_ += static_cast<size_t>(length);
  return items;
}

namespace {

constexpr int64_t kMagic = 0x434F4C4E;
constexpr int64_t kVersion = 2;
constexpr int64_t kSeq = 1;
constexpr int64_t kParallel = 2;
constexpr int64_t kStripe = 3;
constexpr int kMaxDepth = 32;
constexpr int64_t kMaxBytes = int64_t{1} << 46;
constexpr int64_t kMaxArrays = int64_t{1} << 20;

class Decoder {
 public:
  Decoder(std::span<const int64_t> words, std::span<const Constant> constants, Isa isa, Plan& plan)
      : reader_(words), constants_(constants), isa_(isa), plan_(plan) {}

  // Start reading here.
  std::string decode() {
    if (reader_.integer() != kMagic) return "not a plan: wrong magic number";
    const int64_t version = reader_.integer();
    if (version != kVersion)
      return "plan version " + std::to_string(version) + ", expected " + std::to_string(kVersion);
    plan_.arena_bytes = reader_.integer();
    plan_.num_inputs = reader_.integer();
    plan_.num_outputs = reader_.integer();
    plan_.num_constants = reader_.integer();
    if (plan_.arena_bytes < 0 || plan_.arena_bytes > kMaxBytes) return "arena size out of range";
    const auto is_count = [](int64_t count) { return count >= 0 && count <= kMaxArrays; };
    if (!is_count(plan_.num_inputs) || !is_count(plan_.num_outputs)) {
      return "number of inputs or outputs out of range";
    }
    if (plan_.num_constants != static_cast<int64_t>(constants_.size())) {
      return "number of constants differs";
    }
    if (std::string error = decode_buffers(); !error.empty()) return error;
    if (std::string error = decode_statement(0); !error.empty()) return error;
    return reader_.at_end() && reader_.ok() ? "" : "plan is truncated or has words left over";
  }

 private:
  std::string decode_buffers() {
    const int64_t count = reader_.integer();
    for (int64_t i = 0; i < count && reader_.ok(); ++i) {
      Buffer buffer;
      buffer.space = static_cast<Space>(reader_.integer());
      buffer.index = reader_.integer();
      buffer.offset = reader_.integer();
      buffer.bytes = reader_.integer();
      if (std::string error = check_buffer(buffer); !error.empty()) {
        return "buffer " + std::to_string(i) + ": " + error;
      }
      plan_.buffers.push_back(buffer);
    }
    return reader_.ok() ? "" : "plan is truncated in its buffers";
  }

  std::string check_buffer(const Buffer& b) const {
    const auto within = [&](int64_t count) { return b.index >= 0 && b.index < count; };
    if (b.bytes < 0 || b.bytes > kMaxBytes) return "size out of range";
    if (b.offset < 0 || b.offset > kMaxBytes) return "offset out of range";
    if (b.offset != 0 && b.space != Space::arena && b.space != Space::window) {
      return "an offset outside the arena";
    }
    switch (b.space) {
      case Space::arena:
        return b.offset % 64 == 0 && b.offset + b.bytes <= plan_.arena_bytes ? ""
                                                                             : "outside the arena";
      case Space::constant:
        if (!within(plan_.num_constants)) return "no such constant";
        return b.bytes <= static_cast<int64_t>(constants_[static_cast<size_t>(b.index)].size())
                   ? ""
                   : "larger than its constant";
      case Space::input:
        return within(plan_.num_inputs) ? "" : "no such input";
      case Space::output:
        return within(plan_.num_outputs) ? "" : "no such output";
      case Space::window:
        return b.offset % 64 == 0 && b.index >= 1 ? "" : "no such window";
    }
    return "unknown space";
  }

  std::string decode_statement(int depth) {
    if (depth > kMaxDepth) return "statements are nested too deep";
    const int64_t kind = reader_.integer();
    if (kind == kParallel) return decode_parallel();
    if (kind == kStripe) return decode_stripe();
    if (kind != kSeq) return "unknown statement";
    const int64_t count = reader_.integer();
    for (int64_t i = 0; i < count && reader_.ok(); ++i) {
      if (std::string error = decode_statement(depth + 1); !error.empty()) return error;
    }
    return reader_.ok() ? "" : "plan is truncated in its statements";
  }

  std::string decode_parallel() {
    Step step;
    step.split = static_cast<Split>(reader_.integer());
    step.panels = reader_.integer();
    if (step.split != Split::units && step.split != Split::columns) return "unknown split";
    if (std::string error = decode_calls(step.calls); !error.empty()) return error;
    for (const Call& call : step.calls) {
      if (step.split == Split::columns && !owns_columns(call, step.panels)) {
        return "call '" + call.label + "' cannot be split by columns";
      }
      if (uses_window(call)) return "call '" + call.label + "' uses a window outside a stripe";
    }
    if (step.split == Split::units && step.calls.size() > 1) return "units split takes one call";
    plan_.steps.push_back(std::move(step));
    return "";
  }

  std::string decode_stripe() {
    Step step;
    step.split = Split::stripe;
    step.stripe.panels = step.panels = reader_.integer();
    step.stripe.stripe_panels = reader_.integer();
    step.stripe.segments = reader_.integer();
    if (std::string error = decode_calls(step.calls); !error.empty()) return error;
    const std::string error = build_stripe(plan_.buffers, step.calls, step.stripe);
    if (!error.empty()) return "stripe: " + error;
    plan_.window_bytes = std::max(plan_.window_bytes, window_bytes(step.stripe));
    plan_.steps.push_back(std::move(step));
    return "";
  }

  std::string decode_calls(std::vector<Call>& calls) {
    const int64_t count = reader_.integer();
    for (int64_t i = 0; i < count && reader_.ok(); ++i) {
      Call call;
      if (std::string error = decode_call(call); !error.empty()) {
        return "call '" + call.label + "': " + error;
      }
      calls.push_back(std::move(call));
    }
    return reader_.ok() ? "" : "plan is truncated in its calls";
  }

  // A call that reads its neighbours' panels would need a barrier in front of it.
  static bool owns_columns(const Call& call, int64_t panels) {
    const Prepared& p = call.prepared;
    const auto reads_others = [](const PanelUse& use) { return use.access == Access::reach; };
    return p.units_per_panel > 0 && panels >= 0 && p.units / p.units_per_panel == panels &&
           p.units % p.units_per_panel == 0 &&
           std::none_of(p.uses.begin(), p.uses.end(), reads_others);
  }

  bool uses_window(const Call& call) const {
    return std::any_of(call.operands.begin(), call.operands.end(), [&](int32_t number) {
      return number >= 0 && plan_.buffers[static_cast<size_t>(number)].space == Space::window;
    });
  }

  std::string decode_call(Call& call) {
    const std::string kernel = decode_text();
    call.label = decode_text();
    call.op = find_op(kernel);
    if (call.op == nullptr) return "unknown kernel '" + kernel + "'";
    std::vector<OperandInfo> infos;
    for (const int64_t number : reader_.list()) {
      if (number < -1 || number >= static_cast<int64_t>(plan_.buffers.size())) {
        return "operand out of range";
      }
      call.operands.push_back(static_cast<int32_t>(number));
      infos.push_back(number < 0 ? OperandInfo{}
                                 : info(plan_.buffers[static_cast<size_t>(number)]));
    }
    if (std::string error = check_written(call); !error.empty()) return error;
    ParamReader params(reader_.list());
    PrepareContext context{params, infos, isa_};
    if (std::string error = call.op->prepare(context, call.prepared); !error.empty()) return error;
    if (!params.ok() || !params.at_end()) return "wrong number of parameters";
    plan_.scratch_bytes = std::max(plan_.scratch_bytes, call.prepared.scratch_bytes);
    return "";
  }

  // Constants were verified once, and inputs are the caller's: nothing may change them.
  std::string check_written(const Call& call) const {
    for (size_t i = 0; i < call.operands.size(); ++i) {
      if (call.operands[i] < 0 || !is_written(*call.op, i, call.operands.size())) continue;
      const Space space = plan_.buffers[static_cast<size_t>(call.operands[i])].space;
      if (space == Space::constant || space == Space::input) {
        return "operand " + std::to_string(i) + " is written, but is a constant or an input";
      }
    }
    return "";
  }

  OperandInfo info(const Buffer& buffer) const {
    if (buffer.space != Space::constant) return {buffer.bytes};
    return {buffer.bytes, constants_[static_cast<size_t>(buffer.index)].data()};
  }

  std::string decode_text() {
    const int64_t length = reader_.integer();
    if (length < 0 || length > (1 << 20)) return "";
    std::string text;
    for (int64_t done = 0; done < length; done += 8) {
      const int64_t word = reader_.integer();
      char bytes[8];
      std::memcpy(bytes, &word, 8);
      text.append(bytes, static_cast<size_t>(std::min<int64_t>(8, length - done)));
    }
    return text;
  }

  ParamReader reader_;
  std::span<const Constant> constants_;
  Isa isa_;
  Plan& plan_;
};

}  // namespace

std::string decode_plan(std::span<const int64_t> words, std::span<const Constant> constants,
                        Isa isa, Plan& plan) {
  return Decoder(words, constants, isa, plan).decode();
}

}  // namespace colonnade::exec

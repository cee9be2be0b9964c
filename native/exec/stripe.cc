#include "exec/stripe.h"

#include <algorithm>
#include <cstring>

#include "exec/plan.h"

namespace colonnade::exec {

Segment find_segment(const Stripe& stripe, int64_t number) {
  return {stripe.panels * number / stripe.segments, stripe.panels * (number + 1) / stripe.segments};
}

namespace {

void find_starts(const Stripe& stripe, size_t num_calls, int64_t first, Walk& walk) {
  std::array<bool, kStripeCallsMax> is_found{};
  std::fill_n(walk.done.begin(), num_calls, first);
  for (size_t i = stripe.made.size(); i-- > 0;) {
    const Made& made = stripe.made[i];
    int64_t start = made.is_window ? made.panel_limit : first;
    for (const Reader& reader : made.readers) {
      start = std::min(start, first_read(reader.reach, walk.done[reader.call]));
    }
    int64_t& done = walk.done[made.call];
    done = is_found[made.call] ? std::min(done, start) : start;
    is_found[made.call] = true;
  }
  for (size_t i = 0; i < stripe.made.size(); ++i) walk.base[i] = walk.done[stripe.made[i].call];
}

bool has_work(size_t num_calls, const Walk& walk) {
  for (size_t c = 0; c < num_calls; ++c) {
    if (walk.end[c] > walk.done[c]) return true;
  }
  return false;
}

}  // namespace

int64_t start_walk(const Stripe& stripe, size_t num_calls, int64_t first, Walk& walk) {
  find_starts(stripe, num_calls, first, walk);
  int64_t end = first;
  for (int64_t i = 0; i < kWarmUpMax && end > 0; ++i) {
    start_stripe(stripe, num_calls, end, walk);
    if (!has_work(num_calls, walk)) break;
    end -= stripe.stripe_panels;
  }
  return end;
}

void start_stripe(const Stripe& stripe, size_t num_calls, int64_t end, Walk& walk) {
  std::fill_n(walk.end.begin(), num_calls, 0);
  for (size_t i = stripe.made.size(); i-- > 0;) {
    const Made& made = stripe.made[i];
    int64_t& call_end = walk.end[made.call];
    if (!made.is_window) call_end = std::max(call_end, end);
    for (const Reader& reader : made.readers) {
      call_end = std::max(call_end, end_read(reader.reach, walk.end[reader.call]));
    }
  }
  for (size_t c = 0; c < num_calls; ++c) walk.end[c] = std::max(walk.end[c], walk.done[c]);
}

namespace {

// The first panel of a buffer that its readers still need.
int64_t first_kept(const Made& made, const Walk& walk) {
  int64_t first = walk.done[made.call];
  for (const Reader& reader : made.readers) {
    first = std::min(first, first_read(reader.reach, walk.done[reader.call]));
  }
  return first;
}

}  // namespace

void make_room(const Stripe& stripe, size_t call, std::byte* windows, Walk& walk) {
  for (size_t i = 0; i < stripe.made.size(); ++i) {
    const Made& made = stripe.made[i];
    if (!made.is_window || made.call != call) continue;
    int64_t& base = walk.base[i];
    if (walk.end[call] - base <= made.capacity) continue;
    const int64_t kept = first_kept(made, walk);
    std::byte* front = windows + made.offset;
    const int64_t count = walk.done[call] - kept;
    std::memmove(front, front + (kept - base) * made.panel_bytes,
                 static_cast<size_t>(count * made.panel_bytes));
    base = kept;
  }
}

// The address may lie before any memory of ours: it is computed on integers.
std::byte* window_pointer(const Stripe& stripe, size_t made, std::byte* windows, const Walk& walk) {
  const Made& m = stripe.made[made];
  const auto address = reinterpret_cast<intptr_t>(windows);
  return reinterpret_cast<std::byte*>(address + m.offset - walk.base[made] * m.panel_bytes);
}

int64_t window_bytes(const Stripe& stripe) {
  int64_t bytes = 0;
  for (const Made& made : stripe.made) {
    if (made.is_window) bytes = std::max(bytes, made.offset + made.capacity * made.panel_bytes);
  }
  return bytes;
}

namespace {

constexpr int64_t kMaxWindowBytes = int64_t{1} << 40;

int64_t panels_of(const Call& call) { return call.prepared.units / call.prepared.units_per_panel; }

class Builder {
 public:
  Builder(std::span<const Buffer> buffers, std::span<const Call> calls, Stripe& stripe)
      : buffers_(buffers), calls_(calls), stripe_(stripe), made_of_(buffers.size(), -1) {}

  std::string build() {
    if (calls_.empty() || calls_.size() > kStripeCallsMax) return "number of calls out of range";
    if (stripe_.panels < 1 || stripe_.stripe_panels < 1 || stripe_.segments < 1 ||
        stripe_.segments > std::min(stripe_.panels, kSegmentsMax) ||
        stripe_.panels / stripe_.stripe_panels > kStripesMax) {
      return "panels, stripe or segments out of range";
    }
    for (size_t c = 0; c < calls_.size(); ++c) {
      if (std::string error = add_call(c); !error.empty()) {
        return "call '" + calls_[c].label + "': " + error;
      }
    }
    if (std::string error = check_ends(); !error.empty()) return error;
    return check_walks();
  }

 private:
  std::string add_call(size_t c) {
    const Call& call = calls_[c];
    const Prepared& p = call.prepared;
    const size_t operands = call.operands.size();
    if (p.units_per_panel < 1 || p.units % p.units_per_panel != 0 || p.uses.size() != operands ||
        operands > kStripeOperandsMax) {
      return "cannot be run by panels";
    }
    stripe_.windows.emplace_back();
    for (size_t k = 0; k < operands; ++k) {
      if (call.operands[k] < 0 || p.uses[k].is_written) continue;
      if (std::string error = add_read(c, k); !error.empty()) return error;
    }
    for (size_t k = 0; k < operands; ++k) {
      if (call.operands[k] < 0 || !p.uses[k].is_written) continue;
      if (std::string error = add_write(c, k); !error.empty()) return error;
    }
    return "";
  }

  std::string add_read(size_t c, size_t k) {
    const int32_t number = calls_[c].operands[k];
    const PanelUse& use = calls_[c].prepared.uses[k];
    const int32_t index = made_of_[static_cast<size_t>(number)];
    if (index < 0) {
      const bool is_window = buffers_[static_cast<size_t>(number)].space == Space::window;
      return is_window ? "reads a window that no call before it fills" : "";
    }
    Made& made = stripe_.made[static_cast<size_t>(index)];
    if (use.access == Access::whole || use.panel_bytes != made.panel_bytes) {
      return "reads by other panels than were made";
    }
    const Reach reach = use.access == Access::reach ? calls_[c].prepared.reach : Reach{};
    const int64_t count = panels_of(calls_[made.call]);
    if (end_read(reach, panels_of(calls_[c])) > count) return "reads past the panels made";
    made.readers.push_back({c, reach});
    if (made.is_window) stripe_.windows[c].push_back({k, static_cast<size_t>(index)});
    return "";
  }

  std::string add_write(size_t c, size_t k) {
    const int32_t number = calls_[c].operands[k];
    const PanelUse& use = calls_[c].prepared.uses[k];
    const Buffer& buffer = buffers_[static_cast<size_t>(number)];
    const auto& operands = calls_[c].operands;
    if (made_of_[static_cast<size_t>(number)] >= 0) return "writes what another call made";
    if (std::count(operands.begin(), operands.end(), number) > 1) return "writes what it reads";
    if (stripe_.made.size() == kStripeMadeMax) return "one buffer too many";
    const bool is_window = buffer.space == Space::window;
    const int64_t panels = panels_of(calls_[c]);
    if (use.access != Access::same) return "does not write panels";
    if (is_window && use.panel_bytes < 1) return "writes a window without panels";
    if (is_window && buffer.index > kMaxWindowBytes / use.panel_bytes) return "window too large";
    if (!is_window && panels != stripe_.panels) return "its panels differ from the stripe's";
    made_of_[static_cast<size_t>(number)] = static_cast<int32_t>(stripe_.made.size());
    if (is_window) stripe_.windows[c].push_back({k, stripe_.made.size()});
    stripe_.made.push_back(
        {number, c, {}, is_window, use.panel_bytes, buffer.offset, buffer.index, panels});
    return "";
  }

  std::string check_ends() const {
    bool has_final = false;
    std::vector<bool> makes(calls_.size(), false);
    for (const Made& made : stripe_.made) {
      if (made.is_window && made.readers.empty()) return "a window that nobody reads";
      has_final |= !made.is_window;
      makes[made.call] = true;
    }
    if (!has_final) return "no final output";
    return std::count(makes.begin(), makes.end(), false) == 0 ? "" : "a call that makes nothing";
  }

  // Every stripe of every segment: windows hold what is needed of them, nothing else is written
  // by two segments, and windows that share bytes are never in use together.
  std::string check_walks() {
    is_carried_.assign(stripe_.made.size(), false);
    Walk walk;
    for (int64_t s = 0; s < stripe_.segments; ++s) {
      const Segment segment = find_segment(stripe_, s);
      int64_t end = start_walk(stripe_, calls_.size(), segment.first, walk);
      while (end < segment.end) {
        end = std::min(end + stripe_.stripe_panels, segment.end);
        start_stripe(stripe_, calls_.size(), end, walk);
        if (std::string error = check_stripe(segment.first, end, walk); !error.empty()) {
          return error;
        }
        for (size_t c = 0; c < calls_.size(); ++c) walk.done[c] = walk.end[c];
      }
    }
    return check_shared_bytes();
  }

  std::string check_stripe(int64_t first, int64_t end, const Walk& walk) {
    for (size_t i = 0; i < stripe_.made.size(); ++i) {
      const Made& made = stripe_.made[i];
      const int64_t from = walk.done[made.call], to = walk.end[made.call];
      if (from > to || to > made.panel_limit) return label(made) + "its panels run out of range";
      if (!made.is_window) {
        if (from < first || to != std::max(first, end))
          return label(made) + "writes panels of another segment";
        continue;
      }
      const int64_t kept = first_kept(made, walk);
      if (to - kept > made.capacity) return label(made) + "window too small";
      if (kept < from) is_carried_[i] = true;
    }
    return "";
  }

  std::string check_shared_bytes() const {
    for (size_t i = 0; i < stripe_.made.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (share_bytes(stripe_.made[i], stripe_.made[j]) && are_used_together(i, j)) {
          return label(stripe_.made[i]) + "shares the bytes of a window in use";
        }
      }
    }
    return "";
  }

  static bool share_bytes(const Made& a, const Made& b) {
    return a.is_window && b.is_window && a.offset < b.offset + b.capacity * b.panel_bytes &&
           b.offset < a.offset + a.capacity * a.panel_bytes;
  }

  bool are_used_together(size_t i, size_t j) const {
    const Made &a = stripe_.made[i], &b = stripe_.made[j];
    return is_carried_[i] || is_carried_[j] || (a.call <= last_use(b) && b.call <= last_use(a));
  }

  static size_t last_use(const Made& made) {
    size_t last = made.call;
    for (const Reader& reader : made.readers) last = std::max(last, reader.call);
    return last;
  }

  std::string label(const Made& made) const { return "call '" + calls_[made.call].label + "': "; }

  std::span<const Buffer> buffers_;
  std::span<const Call> calls_;
  Stripe& stripe_;
  std::vector<int32_t> made_of_;  // Per buffer: its number in stripe_.made, or -1.
  std::vector<bool> is_carried_;  // Per made: keeps panels from one stripe to the next.
};

}  // namespace

std::string build_stripe(std::span<const Buffer> buffers, std::span<const Call> calls,
                         Stripe& stripe) {
  return Builder(buffers, calls, stripe).build();
}

}  // namespace colonnade::exec

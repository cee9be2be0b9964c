// A Stripe: several calls run depth-wise over a few panels at a time, so that what one makes is
// still in the thread's L2 when the next reads it.
//
// The final output panels are cut in segments, the units that threads take. A thread walks its
// segment stripe by stripe: backwards it finds the panel up to which every call must have come,
// forwards it runs each call from where it stopped to there. A buffer made and read inside lives in
// a window: `capacity` panels private to the thread, which hold panels [base, base + capacity) of
// the tensor. Kernels address panel p at pointer + p * panel_bytes, so they get the pointer
// window - base * panel_bytes. A full window moves the panels that are still read to its front.
// Nothing is computed twice inside a segment; the halo above its first panel is, stripe by stripe
// too, as if the segment had started earlier.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "exec/op.h"

namespace colonnade::exec {

struct Buffer;
struct Call;

inline constexpr size_t kStripeCallsMax = 64;
inline constexpr size_t kStripeMadeMax = 128;
inline constexpr size_t kStripeOperandsMax = 32;
// Stripes of all segments together: what verification walks through.
inline constexpr int64_t kStripesMax = int64_t{1} << 20;
inline constexpr int64_t kSegmentsMax = 1 << 12;
// Stripes in which a segment's first halo is computed; what is left comes in one.
inline constexpr int64_t kWarmUpMax = 64;

// A call that reads what another made, and by which reach.
struct Reader {
  size_t call;
  Reach reach;
};

// A buffer that one call of the stripe writes.
struct Made {
  int32_t buffer;
  size_t call;
  std::vector<Reader> readers;
  bool is_window;
  int64_t panel_bytes;
  int64_t offset;       // Of the window in the thread's windows.
  int64_t capacity;     // Of the window, in panels.
  int64_t panel_limit;  // Panels of the whole tensor.
};

// An operand that lies in a window.
struct WindowOperand {
  size_t operand;
  size_t made;
};

struct Stripe {
  int64_t panels = 0;  // Of the final outputs.
  int64_t stripe_panels = 0;
  int64_t segments = 0;
  std::vector<Made> made;                           // In the order of the calls that make them.
  std::vector<std::vector<WindowOperand>> windows;  // Per call.
};

// Where a thread stands in a segment.
struct Walk {
  std::array<int64_t, kStripeCallsMax> done;  // Per call: the first panel not computed yet.
  std::array<int64_t, kStripeCallsMax> end;   // Per call: where it stops in this stripe.
  std::array<int64_t, kStripeMadeMax> base;   // Per window: its first panel.
};

// Final output panels [first, end) of a segment.
struct Segment {
  int64_t first;
  int64_t end;
};
Segment find_segment(const Stripe& stripe, int64_t number);

// Every call stands at the first panel that the segment needs of it. Returns the final output panel
// after which the first stripe counts: before `first` when there is a halo to compute.
int64_t start_walk(const Stripe& stripe, size_t num_calls, int64_t first, Walk& walk);
// Sets the ends of a stripe whose final outputs stop at `end`; none is before what is done.
void start_stripe(const Stripe& stripe, size_t num_calls, int64_t end, Walk& walk);
// Makes room for the panels that `call` is about to compute, in its thread's windows.
void make_room(const Stripe& stripe, size_t call, std::byte* windows, Walk& walk);
// What a kernel gets for an operand in a window: panel p of the tensor lies p panels after it.
std::byte* window_pointer(const Stripe& stripe, size_t made, std::byte* windows, const Walk& walk);

// Fills made and windows from the calls and checks everything, by walking through every segment.
// Returns an empty string or what is wrong.
std::string build_stripe(std::span<const Buffer> buffers, std::span<const Call> calls,
                         Stripe& stripe);
// Bytes of windows that a thread needs.
int64_t window_bytes(const Stripe& stripe);

}  // namespace colonnade::exec

// Reach against brute force, and the walk of a stripe over windows.
#include "exec/stripe.h"

#include <algorithm>
#include <vector>

#include "check.h"
#include "exec/plan.h"

using namespace colonnade::exec;

namespace {

Reach make_reach(int64_t lanes, int64_t batch, int64_t in_h, int64_t in_w, int64_t stride,
                 int64_t span, int64_t pad) {
  const int64_t out_h = (in_h + 2 * pad - span) / stride + 1;
  const int64_t out_w = (in_w + stride - 1) / stride;
  return {lanes, batch * out_h * out_w, in_h, in_w, out_h, out_w, stride, span, pad};
}

// The range holds every row that a window covers, and no row more.
void check_reach(const Reach& r) {
  const int64_t panels = (r.out_columns + r.lanes - 1) / r.lanes;
  for (int64_t a = 0; a < panels; ++a) {
    for (int64_t b = a + 1; b <= panels; ++b) {
      int64_t low = INT64_MAX, high = -1;
      for (int64_t l = a * r.lanes; l < std::min(b * r.lanes, r.out_columns); ++l) {
        const int64_t oh = l / r.out_w % r.out_h, n = l / r.out_w / r.out_h;
        for (int64_t i = 0; i < r.span_h; ++i) {
          const int64_t ih = oh * r.stride_h - r.pad_top + i;
          if (ih < 0 || ih >= r.in_h) continue;
          low = std::min(low, (n * r.in_h + ih) * r.in_w);
          high = std::max(high, (n * r.in_h + ih + 1) * r.in_w - 1);
        }
      }
      EXPECT(first_read(r, a) < end_read(r, b));
      if (high < 0) continue;
      EXPECT(first_read(r, a) <= low / r.lanes && end_read(r, b) >= high / r.lanes + 1);
      if (r.pad_top >= r.span_h) continue;  // Some windows lie outside the image.
      EXPECT(first_read(r, a) == low / r.lanes && end_read(r, b) == high / r.lanes + 1);
    }
    EXPECT(a == 0 || first_read(r, a) >= first_read(r, a - 1));
    EXPECT(a == 0 || end_read(r, a + 1) >= end_read(r, a));
  }
}

// ---- Calls without kernels: what build_stripe sees of them.
constexpr int64_t kPanelBytes = 64;

Call make_call(std::vector<int32_t> operands, int64_t panels, const Reach& reach = {}) {
  Call call{nullptr, "c", std::move(operands), {}};
  call.prepared.units = panels;
  call.prepared.units_per_panel = 1;
  const Access read = reach.lanes == 0 ? Access::same : Access::reach;
  call.prepared.uses.assign(call.operands.size(), {read, false, kPanelBytes});
  call.prepared.uses.back() = {Access::same, true, kPanelBytes};
  call.prepared.reach = reach;
  return call;
}

struct Case {
  std::vector<Buffer> buffers;
  std::vector<Call> calls;
  Stripe stripe;

  std::string build() {
    stripe.made.clear();
    stripe.windows.clear();
    return build_stripe(buffers, calls, stripe);
  }
};

// x -> 3 rows -> a -> 3 rows -> b -> same, with a, -> y. 40 panels of 4 columns, images of 10 x 8.
Case make_chain(int64_t stripe_panels, int64_t segments, int64_t capacity_a, int64_t capacity_b) {
  const Reach rows = make_reach(4, 2, 10, 8, 1, 3, 1);
  Case c;
  const int64_t bytes = 40 * kPanelBytes;
  c.buffers = {{Space::input, 0, 0, bytes},
               {Space::window, capacity_a, 0, bytes},
               {Space::window, capacity_b, capacity_a * kPanelBytes, bytes},
               {Space::output, 0, 0, bytes}};
  c.calls = {make_call({0, 1}, 40, rows), make_call({1, 2}, 40, rows), make_call({2, 1, 3}, 40)};
  c.stripe.panels = 40;
  c.stripe.stripe_panels = stripe_panels;
  c.stripe.segments = segments;
  return c;
}

// Runs the walk on windows of numbers: call 0 writes 100 + p, call 1 sums what it reads, call 2
// checks. Returns how many final panels were right, or -1 when one was read that was not there.
int64_t run_chain(const Case& c) {
  const int64_t floats = window_bytes(c.stripe) / 4;
  std::vector<float> windows(static_cast<size_t>(floats), -1e9f);
  auto* bytes = reinterpret_cast<std::byte*>(windows.data());
  std::vector<int> written(40, 0);
  const Reach rows = c.calls[0].prepared.reach;
  const auto sum_rows = [&](int64_t p) {
    float sum = 0;
    for (int64_t q = first_read(rows, p); q < end_read(rows, p + 1); ++q) sum += 100.0f + q;
    return sum;
  };
  bool is_right = true;
  for (int64_t s = 0; s < c.stripe.segments; ++s) {
    const Segment segment = find_segment(c.stripe, s);
    Walk walk;
    int64_t end = start_walk(c.stripe, 3, segment.first, walk);
    while (end < segment.end) {
      end = std::min(end + c.stripe.stripe_panels, segment.end);
      start_stripe(c.stripe, 3, end, walk);
      for (size_t call = 0; call < 3; ++call) {
        if (walk.done[call] == walk.end[call]) continue;
        make_room(c.stripe, call, bytes, walk);
        auto* a = reinterpret_cast<float*>(window_pointer(c.stripe, 0, bytes, walk));
        auto* b = reinterpret_cast<float*>(window_pointer(c.stripe, 1, bytes, walk));
        const int64_t step = kPanelBytes / 4;
        for (int64_t p = walk.done[call]; p < walk.end[call]; ++p) {
          if (call == 0) a[p * step] = 100.0f + p;
          if (call == 1) {
            b[p * step] = 0;
            for (int64_t q = first_read(rows, p); q < end_read(rows, p + 1); ++q) {
              b[p * step] += a[q * step];
            }
          }
          if (call == 2) {
            is_right &= b[p * step] == sum_rows(p) && a[p * step] == 100.0f + p;
            ++written[static_cast<size_t>(p)];
          }
        }
        walk.done[call] = walk.end[call];
      }
    }
  }
  if (!is_right) return -1;
  return std::count(written.begin(), written.end(), 1);
}

void check_walks() {
  for (const int64_t stripe_panels : {1, 2, 3, 7, 40}) {
    for (const int64_t segments : {1, 2, 5, 40}) {
      // The smallest windows that are accepted are enough.
      int64_t a = 1, b = 1;
      Case c = make_chain(stripe_panels, segments, a, b);
      for (std::string error = c.build(); !error.empty() && a < 60; error = c.build()) {
        if (!EXPECT(error.find("window too small") != std::string::npos)) return;
        if (c.stripe.made.size() == 3 && b < 40 && a > b) {
          ++b;
        } else {
          ++a;
        }
        c = make_chain(stripe_panels, segments, a, b);
      }
      EXPECT(a < 60);
      EXPECT(run_chain(c) == 40);
    }
  }
}

bool refuses(Case c, const char* words) {
  const std::string error = c.build();
  const bool found = error.find(words) != std::string::npos;
  if (!found) std::printf("got '%s', expected '%s'\n", error.c_str(), words);
  return found;
}

void check_refusals() {
  const Case good = make_chain(2, 2, 16, 16);
  EXPECT(Case(good).build().empty());
  Case c = good;
  c.stripe.segments = 41;
  EXPECT(refuses(c, "out of range"));
  c = good;
  c.stripe.stripe_panels = 0;
  EXPECT(refuses(c, "out of range"));
  c = good;
  c.buffers[2].index = 1;
  EXPECT(refuses(c, "window too small"));
  c = good;
  c.buffers[2].offset = 0;
  EXPECT(refuses(c, "shares the bytes"));
  c = good;
  c.stripe.panels = 39;
  EXPECT(refuses(c, "panels differ"));
  c = good;
  c.calls[2].operands[0] = 0;
  EXPECT(refuses(c, "nobody reads"));
  c = good;
  std::swap(c.calls[0], c.calls[1]);
  EXPECT(refuses(c, "no call before it"));
  c = good;
  c.calls[1].prepared.uses[0].panel_bytes = 128;
  EXPECT(refuses(c, "other panels"));
  c = good;
  c.calls[1].prepared.uses[0].access = Access::whole;
  EXPECT(refuses(c, "other panels"));
  c = good;
  c.calls[2].operands[2] = 1;
  EXPECT(refuses(c, "another call made"));
  c = good;
  c.calls[0].operands[0] = 1;
  EXPECT(refuses(c, "no call before it"));
  c = good;
  c.calls[0].prepared.units = 39;
  EXPECT(refuses(c, "past the panels"));
  c = good;
  c.calls[0].prepared.uses.clear();
  EXPECT(refuses(c, "cannot be run by panels"));
  c = good;  // a is read outside too: its halo would be written by two segments.
  c.buffers[1] = {Space::output, 0, 0, 40 * kPanelBytes};
  EXPECT(refuses(c, "another segment"));
}

}  // namespace

int main() {
  for (const int64_t lanes : {4, 16, 64}) {
    for (const int64_t in_h : {1, 2, 5, 11}) {
      for (const int64_t stride : {1, 2, 3}) {
        for (const int64_t span : {1, 3, 5}) {
          for (const int64_t pad : {0, 1, 2}) {
            if (in_h + 2 * pad < span) continue;
            check_reach(make_reach(lanes, 3, in_h, 7, stride, span, pad));
          }
        }
      }
    }
  }
  check_walks();
  check_refusals();
  return colonnade::test::finish();
}

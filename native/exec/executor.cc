#include "exec/executor.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>

namespace colonnade::exec {
namespace {

// A thread takes its own share in this many bites, so that a late one can be helped.
constexpr int64_t kBitesPerThread = 8;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t share(int64_t units, int part, int parts) { return units * part / parts; }

int64_t round_to_line(int64_t bytes) { return (bytes + 63) / 64 * 64; }

struct Bite {
  int64_t begin;
  int64_t end;
};

// Up to `most` of the `count` that `taken` counts from `base` on; empty when all are taken.
Bite take_bite(std::atomic<int64_t>& taken, int64_t base, int64_t count, int64_t most) {
  int64_t begin = taken.load(std::memory_order_relaxed);
  while (begin < base + count) {
    const int64_t end = std::min(begin + most, base + count);
    if (taken.compare_exchange_weak(begin, end, std::memory_order_relaxed)) {
      return {begin - base, end - base};
    }
  }
  return {count, count};
}

}  // namespace

struct alignas(64) Counter {
  std::atomic<int64_t> value{0};
};

// What one run needs and the next one reuses.
struct Executor::State {
  runtime::Arena arena;
  int num_threads = 0;
  std::byte* threads = nullptr;       // Scratch and windows, thread by thread.
  std::vector<std::byte*> operands;   // Of all calls, in plan order; null in a window.
  std::vector<size_t> first_operand;  // Per call.
  std::vector<Counter> taken;         // Per (step, thread): how much of its share is taken.
  std::vector<Counter> done;          // Per step: work items that are done.
};

struct Executor::Job {
  Executor* executor;
  State* state;
  std::atomic<bool> failed{false};
  std::mutex result_mutex;
  RunResult result;
  std::vector<TraceEvent>* trace;
};

Executor::Executor(Plan plan, std::vector<const std::byte*> constants,
                   std::shared_ptr<runtime::ThreadPool> pool)
    : plan_(std::move(plan)),
      constants_(std::move(constants)),
      pool_(std::move(pool)),
      states_(static_cast<size_t>(pool_->num_threads())) {
  size_t calls = 0;
  for (const Step& step : plan_.steps) {
    first_call_.push_back(calls);
    calls += step.calls.size();
  }
}

Executor::~Executor() = default;

RunResult Executor::run(std::span<const std::byte* const> inputs,
                        std::span<std::byte* const> outputs, std::vector<TraceEvent>* trace,
                        runtime::ThreadRange range) {
  std::unique_ptr<State> state = take_state(range);
  size_t slot = 0;
  for (const Step& step : plan_.steps) {
    for (const Call& call : step.calls) {
      for (const int32_t number : call.operands) {
        if (number >= 0) {
          const Buffer& buffer = plan_.buffers[static_cast<size_t>(number)];
          const auto index = static_cast<size_t>(buffer.index);
          if (buffer.space == Space::input) {
            // Kernels never write through an input operand.
            state->operands[slot] = const_cast<std::byte*>(inputs[index]) + buffer.offset;
          } else if (buffer.space == Space::output) {
            state->operands[slot] = outputs[index] + buffer.offset;
          }
        }
        ++slot;
      }
    }
  }
  for (Counter& counter : state->taken) counter.value.store(0, std::memory_order_relaxed);
  for (Counter& counter : state->done) counter.value.store(0, std::memory_order_relaxed);
  Job job{this, state.get(), {}, {}, {}, trace};
  pool_->run(range, &run_thread, &job);
  give_back(range, std::move(state));
  return job.result;
}

std::unique_ptr<Executor::State> Executor::take_state(runtime::ThreadRange range) {
  {
    std::lock_guard<std::mutex> lock(states_mutex_);
    auto& states = states_[static_cast<size_t>(range.first)];
    if (!states.empty()) {
      std::unique_ptr<State> state = std::move(states.back());
      states.pop_back();
      if (state->num_threads >= range.count) return state;
    }
  }
  const auto threads = static_cast<size_t>(range.count);
  auto state = std::make_unique<State>();
  state->num_threads = range.count;
  const int64_t arena = round_to_line(plan_.arena_bytes);
  // 64 bytes of slack on both sides: masked vector loads may point just outside a buffer.
  if (!state->arena.reserve(arena + thread_bytes() * static_cast<int64_t>(threads) + 256)) {
    throw std::bad_alloc();
  }
  std::byte* base = state->arena.data() + 128;
  state->threads = base + arena;
  for (const Step& step : plan_.steps) {
    for (const Call& call : step.calls) {
      state->first_operand.push_back(state->operands.size());
      for (const int32_t number : call.operands) {
        std::byte* pointer = nullptr;
        if (number >= 0) {
          const Buffer& buffer = plan_.buffers[static_cast<size_t>(number)];
          if (buffer.space == Space::arena) pointer = base + buffer.offset;
          if (buffer.space == Space::constant) {
            pointer = const_cast<std::byte*>(constants_[static_cast<size_t>(buffer.index)]) +
                      buffer.offset;
          }
        }
        state->operands.push_back(pointer);
      }
    }
  }
  state->taken = std::vector<Counter>(plan_.steps.size() * threads);
  state->done = std::vector<Counter>(plan_.steps.size());
  num_allocations_.fetch_add(1);
  return state;
}

void Executor::give_back(runtime::ThreadRange range, std::unique_ptr<State> state) {
  std::lock_guard<std::mutex> lock(states_mutex_);
  states_[static_cast<size_t>(range.first)].push_back(std::move(state));
}

// Every thread walks the steps. A step is over when its items are done, not when every thread has
// been there: a thread that the system holds up delays nobody who does not wait for its item. The
// waves of a step are rounds over the same items, each over in the same way; `done` and `taken`
// count on through all of them.
void Executor::run_thread(void* context, int thread_idx, int num_threads) {
  Job& job = *static_cast<Job*>(context);
  Executor& self = *job.executor;
  for (size_t step = 0; step < self.plan_.steps.size(); ++step) {
    const int64_t items = self.num_items(step);
    const int64_t waves = items > 0 ? self.num_waves(step) : 0;
    const std::atomic<int64_t>& done = job.state->done[step].value;
    while (true) {
      const int64_t done_now = done.load(std::memory_order_acquire);
      if (done_now >= items * waves) break;
      const int64_t wave = done_now / items;
      self.run_wave(job, step, wave, items, thread_idx, num_threads);
      runtime::spin_until(
          [&] { return done.load(std::memory_order_acquire) >= items * (wave + 1); });
    }
  }
}

// A thread's scratch, then its windows.
int64_t Executor::thread_bytes() const {
  return round_to_line(plan_.scratch_bytes) + round_to_line(plan_.window_bytes);
}

// What a step deals out: units of its call, panels, or segments.
int64_t Executor::num_items(size_t step_idx) const {
  const Step& step = plan_.steps[step_idx];
  if (step.calls.empty()) return 0;
  if (step.split == Split::stripe) return step.stripe.segments;
  return step.split == Split::columns ? step.panels : step.calls[0].prepared.units;
}

int64_t Executor::num_waves(size_t step_idx) const {
  const Step& step = plan_.steps[step_idx];
  return step.split == Split::units && !step.calls.empty() ? step.calls[0].prepared.waves : 1;
}

// A thread works through its own share first, then helps the others with theirs. Odd waves go
// through a share backwards: what a thread's caches still hold of the wave before comes first.
void Executor::run_wave(Job& job, size_t step_idx, int64_t wave, int64_t items, int thread_idx,
                        int num_threads) {
  const auto state_threads = static_cast<size_t>(job.state->num_threads);
  const bool is_one_bite = num_threads == 1 && num_waves(step_idx) == 1;
  for (int turn = 0; turn < num_threads; ++turn) {
    const int victim = (thread_idx + turn) % num_threads;
    const int64_t first = share(items, victim, num_threads);
    const int64_t count = share(items, victim + 1, num_threads) - first;
    const int64_t bite = std::max<int64_t>(1, is_one_bite ? count : count / kBitesPerThread);
    std::atomic<int64_t>& taken =
        job.state->taken[step_idx * state_threads + static_cast<size_t>(victim)].value;
    int64_t made = 0;
    while (true) {
      const auto [begin, end] = take_bite(taken, wave * count, count, bite);
      if (begin == end) break;
      if (!job.failed.load(std::memory_order_relaxed)) {
        const bool is_back = wave % 2 == 1;
        const int64_t from = is_back ? count - end : begin, to = is_back ? count - begin : end;
        run_items(job, step_idx, wave, thread_idx, first + from, first + to);
      }
      made += end - begin;
    }
    // Once for all bites: every thread that waits reads this line.
    if (made > 0) job.state->done[step_idx].value.fetch_add(made, std::memory_order_release);
  }
}

void Executor::run_items(Job& job, size_t step_idx, int64_t wave, int thread_idx, int64_t begin,
                         int64_t end) {
  const Step& step = plan_.steps[step_idx];
  if (step.split == Split::stripe) {
    for (int64_t i = begin; i < end; ++i) run_segment(job, step_idx, thread_idx, i);
    return;
  }
  for (size_t i = 0; i < step.calls.size(); ++i) {
    const int64_t scale = step.split == Split::columns ? step.calls[i].prepared.units_per_panel : 1;
    run_call(job, step_idx, i, operands_of(job, step_idx, i), thread_idx, begin * scale,
             end * scale, wave);
  }
}

void Executor::run_segment(Job& job, size_t step_idx, int thread_idx, int64_t number) {
  const Step& step = plan_.steps[step_idx];
  const Segment segment = find_segment(step.stripe, number);
  Walk walk;
  int64_t end = start_walk(step.stripe, step.calls.size(), segment.first, walk);
  while (end < segment.end) {
    end = std::min(end + step.stripe.stripe_panels, segment.end);
    start_stripe(step.stripe, step.calls.size(), end, walk);
    run_stripe(job, step_idx, thread_idx, walk);
  }
}

// Every call from where it stopped to the end of the stripe.
void Executor::run_stripe(Job& job, size_t step_idx, int thread_idx, Walk& walk) {
  const Step& step = plan_.steps[step_idx];
  std::byte* windows = scratch_of(job, thread_idx) + round_to_line(plan_.scratch_bytes);
  std::array<std::byte*, kStripeOperandsMax> operands;
  for (size_t i = 0; i < step.calls.size(); ++i) {
    if (walk.done[i] == walk.end[i]) continue;
    make_room(step.stripe, i, windows, walk);
    std::copy_n(operands_of(job, step_idx, i), step.calls[i].operands.size(), operands.begin());
    for (const WindowOperand& w : step.stripe.windows[i]) {
      operands[w.operand] = window_pointer(step.stripe, w.made, windows, walk);
    }
    const int64_t scale = step.calls[i].prepared.units_per_panel;
    run_call(job, step_idx, i, operands.data(), thread_idx, walk.done[i] * scale,
             walk.end[i] * scale, 0);
    walk.done[i] = walk.end[i];
  }
}

std::byte* const* Executor::operands_of(const Job& job, size_t step_idx, size_t call_idx) const {
  return job.state->operands.data() + job.state->first_operand[first_call_[step_idx] + call_idx];
}

std::byte* Executor::scratch_of(const Job& job, int thread_idx) const {
  return job.state->threads + thread_bytes() * thread_idx;
}

void Executor::run_call(Job& job, size_t step_idx, size_t call_idx, std::byte* const* operands,
                        int thread_idx, int64_t begin, int64_t end, int64_t wave) {
  const Call& call = plan_.steps[step_idx].calls[call_idx];
  const size_t number = first_call_[step_idx] + call_idx;
  const RunContext context{operands, scratch_of(job, thread_idx), begin, end, wave};
  const int64_t start = job.trace != nullptr ? now_ns() : 0;
  const RunStatus status = call.op->run(call.prepared.params.get(), context);
  if (status.code != RunCode::ok) {
    std::lock_guard<std::mutex> lock(job.result_mutex);
    if (!job.failed.exchange(true)) job.result = {status, call.label};
  }
  if (job.trace != nullptr) {
    std::lock_guard<std::mutex> lock(job.result_mutex);
    job.trace->push_back({static_cast<int32_t>(number), thread_idx, start, now_ns() - start});
  }
}

}  // namespace colonnade::exec

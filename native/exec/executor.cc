#include "exec/executor.h"

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

}  // namespace

struct alignas(64) Counter {
  std::atomic<int64_t> value{0};
};

// What one run needs and the next one reuses.
struct Executor::State {
  runtime::Arena arena;
  int threads = 0;
  std::byte* scratch = nullptr;
  std::vector<std::byte*> operands;   // Of all calls, in plan order.
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
      if (state->threads >= range.count) return state;
    }
  }
  const auto threads = static_cast<size_t>(range.count);
  auto state = std::make_unique<State>();
  state->threads = range.count;
  const int64_t scratch = (plan_.scratch_bytes + 63) / 64 * 64;
  const int64_t arena = (plan_.arena_bytes + 63) / 64 * 64;
  // 64 bytes of slack on both sides: masked vector loads may point just outside a buffer.
  if (!state->arena.reserve(arena + scratch * static_cast<int64_t>(threads) + 256)) {
    throw std::bad_alloc();
  }
  std::byte* base = state->arena.data() + 128;
  state->scratch = base + arena;
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
// been there: a thread that the system holds up delays nobody who does not wait for its item.
void Executor::run_thread(void* context, int thread_idx, int num_threads) {
  Job& job = *static_cast<Job*>(context);
  Executor& self = *job.executor;
  for (size_t step = 0; step < self.plan_.steps.size(); ++step) {
    const int64_t items = self.num_items(step);
    std::atomic<int64_t>& done = job.state->done[step].value;
    if (done.load(std::memory_order_acquire) == items) continue;
    self.run_step(job, step, items, thread_idx, num_threads);
    runtime::spin_until([&] { return done.load(std::memory_order_acquire) == items; });
  }
}

// What a step deals out: units of its call, or panels.
int64_t Executor::num_items(size_t step_idx) const {
  const Step& step = plan_.steps[step_idx];
  if (step.calls.empty()) return 0;
  return step.split == Split::columns ? step.panels : step.calls[0].prepared.units;
}

// A thread works through its own share first, then helps the others with theirs.
void Executor::run_step(Job& job, size_t step_idx, int64_t items, int thread_idx, int num_threads) {
  const auto state_threads = static_cast<size_t>(job.state->threads);
  for (int turn = 0; turn < num_threads; ++turn) {
    const int victim = (thread_idx + turn) % num_threads;
    const int64_t first = share(items, victim, num_threads);
    const int64_t count = share(items, victim + 1, num_threads) - first;
    const int64_t bite = num_threads == 1 ? std::max<int64_t>(count, 1)
                                          : std::max<int64_t>(1, count / kBitesPerThread);
    std::atomic<int64_t>& taken =
        job.state->taken[step_idx * state_threads + static_cast<size_t>(victim)].value;
    while (true) {
      const int64_t begin = taken.fetch_add(bite, std::memory_order_relaxed);
      if (begin >= count) break;
      const int64_t end = std::min(begin + bite, count);
      if (!job.failed.load(std::memory_order_relaxed)) {
        run_items(job, step_idx, thread_idx, first + begin, first + end);
      }
      job.state->done[step_idx].value.fetch_add(end - begin, std::memory_order_release);
    }
  }
}

void Executor::run_items(Job& job, size_t step_idx, int thread_idx, int64_t begin, int64_t end) {
  const Step& step = plan_.steps[step_idx];
  for (size_t i = 0; i < step.calls.size(); ++i) {
    const int64_t scale = step.split == Split::columns ? step.calls[i].prepared.units_per_panel : 1;
    run_call(job, step_idx, i, thread_idx, begin * scale, end * scale);
  }
}

void Executor::run_call(Job& job, size_t step_idx, size_t call_idx, int thread_idx, int64_t begin,
                        int64_t end) {
  const Call& call = plan_.steps[step_idx].calls[call_idx];
  const size_t number = first_call_[step_idx] + call_idx;
  const int64_t scratch = (plan_.scratch_bytes + 63) / 64 * 64;
  const RunContext context{job.state->operands.data() + job.state->first_operand[number],
                           job.state->scratch + scratch * thread_idx, begin, end};
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

// Runs a decoded Plan on a range of the pool's threads. Thread safe: runs on ranges that do not
// overlap go on side by side, and each range keeps an arena of its own. A run that finds a thread
// of its range busy goes on alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "exec/plan.h"
#include "runtime/arena.h"
#include "runtime/thread_pool.h"

namespace colonnade::exec {

struct TraceEvent {
  int32_t call;  // Number of the call in plan order.
  int32_t thread;
  int64_t start_ns;
  int64_t duration_ns;
};

struct RunResult {
  RunStatus status;
  std::string label;  // The call that failed.
};

class Executor {
 public:
  // `constants` stay owned by the caller and must outlive the executor.
  Executor(Plan plan, std::vector<const std::byte*> constants,
           std::shared_ptr<runtime::ThreadPool> pool);
  ~Executor();

  const Plan& plan() const { return plan_; }
  // Pointers in the order of the plan's inputs and outputs. `trace` may be null.
  RunResult run(std::span<const std::byte* const> inputs, std::span<std::byte* const> outputs,
                std::vector<TraceEvent>* trace, runtime::ThreadRange range);
  // Arenas made so far: constant once every range has run once.
  int64_t num_allocations() const { return num_allocations_.load(); }

  // What a step deals out to the threads.
  int64_t num_items(size_t step_idx) const;

 private:
  struct State;
  struct Job;

  std::unique_ptr<State> take_state(runtime::ThreadRange range);
  void give_back(runtime::ThreadRange range, std::unique_ptr<State> state);
  static void run_thread(void* job, int thread_idx, int num_threads);
  int64_t thread_bytes() const;
  int64_t num_waves(size_t step_idx) const;
  void run_wave(Job& job, size_t step_idx, int64_t wave, int64_t items, int thread_idx,
                int num_threads);
  void run_items(Job& job, size_t step_idx, int64_t wave, int thread_idx, int64_t begin,
                 int64_t end);
  void run_segment(Job& job, size_t step_idx, int thread_idx, int64_t number);
  void run_stripe(Job& job, size_t step_idx, int thread_idx, Walk& walk);
  std::byte* const* operands_of(const Job& job, size_t step_idx, size_t call_idx) const;
  std::byte* scratch_of(const Job& job, int thread_idx) const;
  void run_call(Job& job, size_t step_idx, size_t call_idx, std::byte* const* operands,
                int thread_idx, int64_t begin, int64_t end, int64_t wave);

  Plan plan_;
  std::vector<const std::byte*> constants_;
  std::shared_ptr<runtime::ThreadPool> pool_;
  std::vector<size_t> first_call_;  // Per step: number of its first call.
  std::mutex states_mutex_;
  std::vector<std::vector<std::unique_ptr<State>>> states_;  // By the first thread of the range.
  std::atomic<int64_t> num_allocations_{0};
};

}  // namespace colonnade::exec

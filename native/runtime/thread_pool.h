// A pinned pool with bounded spinning. Threads are numbered; a job runs on a range of them, and
// jobs on ranges that do not overlap run beside each other. The caller is the first thread of its
// range: it stands in for that thread's worker, which sleeps meanwhile. So there are never more
// threads at work than the pool has, however it is cut into ranges.
//
// A job must not count on every thread: a worker that wakes late finds the job over and leaves it
// alone. A caller whose range is busy runs its job alone; who owns which range is decided above
// the pool. Workers start with the first job that needs them, so a process may fork before it; a
// pool whose workers a fork has lost says so.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace colonnade::runtime {

// Threads first, first + 1, ... of a pool.
struct ThreadRange {
  int first = 0;
  int count = 1;
};

class ThreadPool {
 public:
  using Job = void (*)(void* context, int thread_idx, int num_threads);

  // Thread t belongs on cpus[t]; CPUs beyond the threads are spare ones.
  ThreadPool(int num_threads, std::vector<int> cpus);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }
  ThreadRange all() const { return {0, num_threads_}; }
  bool has(ThreadRange range) const;
  // True in a child process that forked after workers had started: they do not exist there.
  bool is_forked() const;
  // Runs job(context, t, range.count) on the caller as t = 0 and on every worker of the range that
  // comes in time, or job(context, 0, 1) when the range is busy. Returns when all have left it.
  void run(ThreadRange range, Job job, void* context);
  // The most threads that have been inside jobs at one time, callers and workers.
  int peak_running() const { return peak_running_.load(); }

 private:
  struct Worker;
  class Claim;

  bool try_run_range(ThreadRange range, Job job, void* context);
  void run_alone(Job job, void* context);
  void start_workers(ThreadRange range);
  void pin_workers(ThreadRange range, int caller_cpu);
  void work(Worker& worker);
  bool wait_for_job(Worker& worker, uint64_t seen);
  void enter();
  void leave() { running_.fetch_sub(1, std::memory_order_relaxed); }

  const int num_threads_;
  const std::vector<int> cpus_;
  std::vector<std::unique_ptr<Worker>> workers_;  // One for each thread; thread 0's never starts.
  std::atomic<int64_t> owner_pid_{0};             // 0 until a worker has started.
  std::atomic<bool> stop_{false};
  std::atomic<int> running_{0};
  std::atomic<int> peak_running_{0};
};

// Pauses the CPU for a few cycles inside a spin loop.
void spin_pause();
// Lets another thread run.
void yield_cpu();

// Spins, then yields the CPU between looks, until is_over() is true.
template <typename Condition>
void spin_until(const Condition& is_over) {
  constexpr int kSpins = 2048;
  for (int spins = 0; !is_over(); ++spins) {
    spins < kSpins ? spin_pause() : yield_cpu();
  }
}

}  // namespace colonnade::runtime

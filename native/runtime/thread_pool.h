// A pinned pool with bounded spinning. One job at a time; the caller is thread 0 of it. A job must
// not count on every thread: a worker that wakes late finds the job over and leaves it alone.
//
// `try_run` refuses when the pool is busy with another caller's job: that caller then runs its job
// alone (every job is written for any number of threads). Workers start at the first job, so a
// process may fork before it; a pool whose workers a fork has lost says so.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace colonnade::runtime {

class ThreadPool {
 public:
  using Job = void (*)(void* context, int thread_idx, int num_threads);

  ThreadPool(int num_threads, std::vector<int> cpus);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }
  // True in a child process that forked after the workers had started: they do not exist there.
  bool is_forked() const;
  // Runs job(context, t, num_threads) on thread 0 and on every worker that comes in time; returns
  // when all that came have left. False when the pool is busy.
  bool try_run(Job job, void* context);

 private:
  void start();
  void pin_workers(int caller_cpu);
  void work(int thread_idx);
  bool wait_for_job(uint64_t seen);

  const int num_threads_;
  const std::vector<int> cpus_;
  std::mutex busy_;
  std::vector<std::thread> workers_;
  int caller_cpu_ = -1;                // Where the caller ran when the workers were pinned last.
  std::atomic<int64_t> owner_pid_{0};  // 0 until the workers have started.

  std::atomic<uint64_t> generation_{0};
  std::atomic<uint64_t> open_{0};  // The generation whose job may be entered; 0 = none.
  std::atomic<int> active_{0};     // Workers inside a job.
  std::atomic<bool> stop_{false};
  Job job_ = nullptr;
  void* context_ = nullptr;
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
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

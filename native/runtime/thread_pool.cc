#include "runtime/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>

namespace colonnade::runtime {
namespace {

// Long enough to bridge the gap between two runs of a busy engine, short enough not to be seen.
constexpr auto kSpinTime = std::chrono::microseconds(200);
constexpr int kSpinsPerClockRead = 64;

void pin_to(pthread_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // Refused under some sandboxes: the thread then floats, which is only slower.
  (void)pthread_setaffinity_np(thread, sizeof(set), &set);
}

}  // namespace

void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void yield_cpu() { sched_yield(); }

ThreadPool::ThreadPool(int num_threads, std::vector<int> cpus)
    : num_threads_(num_threads), cpus_(std::move(cpus)) {}

ThreadPool::~ThreadPool() {
  if (is_forked()) {
    // The threads live in the parent; joining them here would wait for ever.
    for (std::thread& worker : workers_) worker.detach();
    return;
  }
  {
    std::lock_guard<std::mutex> lock(sleep_mutex_);
    stop_.store(true, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

bool ThreadPool::is_forked() const {
  const int64_t owner = owner_pid_.load();
  return owner != 0 && owner != getpid();
}

void ThreadPool::start() {
  owner_pid_ = getpid();
  for (int t = 1; t < num_threads_; ++t) workers_.emplace_back([this, t] { work(t); });
}

// The caller is not pinned, it is not ours. Workers keep off the CPU that it runs on.
void ThreadPool::pin_workers(int caller_cpu) {
  if (caller_cpu == caller_cpu_) return;
  caller_cpu_ = caller_cpu;
  std::vector<int> others;
  for (const int cpu : cpus_) {
    if (cpu != caller_cpu) others.push_back(cpu);
  }
  if (others.size() < workers_.size()) return;
  for (size_t i = 0; i < workers_.size(); ++i) pin_to(workers_[i].native_handle(), others[i]);
}

bool ThreadPool::try_run(Job job, void* context) {
  if (num_threads_ == 1) {
    job(context, 0, 1);
    return true;
  }
  std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
  if (!busy.owns_lock()) return false;
  if (workers_.empty()) start();
  pin_workers(sched_getcpu());
  job_ = job;
  context_ = context;
  const uint64_t generation = generation_.load(std::memory_order_relaxed) + 1;
  open_.store(generation, std::memory_order_seq_cst);
  generation_.store(generation, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    std::lock_guard<std::mutex> lock(sleep_mutex_);
    wake_.notify_all();
  }
  job(context, 0, num_threads_);
  open_.store(0, std::memory_order_seq_cst);
  spin_until([this] { return active_.load(std::memory_order_seq_cst) == 0; });
  return true;
}

void ThreadPool::work(int thread_idx) {
  uint64_t seen = 0;
  while (wait_for_job(seen)) {
    seen = generation_.load(std::memory_order_acquire);
    // Enter, then look whether the job is still open: its owner closes first and looks after.
    active_.fetch_add(1, std::memory_order_seq_cst);
    if (open_.load(std::memory_order_seq_cst) == seen) job_(context_, thread_idx, num_threads_);
    active_.fetch_sub(1, std::memory_order_seq_cst);
  }
}

// Spins for kSpinTime, then sleeps. False when the pool stops.
bool ThreadPool::wait_for_job(uint64_t seen) {
  const auto ready = [&] {
    return generation_.load(std::memory_order_seq_cst) != seen ||
           stop_.load(std::memory_order_acquire);
  };
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  while (!ready() && std::chrono::steady_clock::now() < deadline) {
    for (int i = 0; i < kSpinsPerClockRead && !ready(); ++i) spin_pause();
  }
  if (!ready()) {
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    std::unique_lock<std::mutex> lock(sleep_mutex_);
    wake_.wait(lock, ready);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  }
  return !stop_.load(std::memory_order_acquire);
}

}  // namespace colonnade::runtime

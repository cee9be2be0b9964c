#include "runtime/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
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

// A thread of the pool and the job that it is given. Its fields are written by the caller whose
// range it is in, and read by the thread.
struct alignas(64) ThreadPool::Worker {
  std::thread thread;
  int cpu = -1;                           // Where it is pinned; -1 = nowhere yet.
  std::atomic<bool> is_claimed{false};    // In the range of a job.
  std::atomic<bool> has_stand_in{false};  // A caller runs in its place: do not spin.
  std::atomic<uint64_t> generation{0};
  std::atomic<uint64_t> open{0};  // The generation whose job may be entered; 0 = none.
  std::atomic<bool> is_active{false};
  Job job = nullptr;
  void* context = nullptr;
  int thread_idx = 0;
  int num_threads = 0;
  std::mutex sleep_mutex;
  std::condition_variable wake;
  std::atomic<bool> is_asleep{false};
};

// The threads of a range, taken together or not at all.
class ThreadPool::Claim {
 public:
  Claim(std::vector<std::unique_ptr<Worker>>& workers, ThreadRange range)
      : workers_(workers), range_(range) {
    for (; num_taken_ < range.count; ++num_taken_) {
      if (at(num_taken_).is_claimed.exchange(true, std::memory_order_acquire)) break;
    }
  }
  ~Claim() {
    for (int i = 0; i < num_taken_; ++i) at(i).is_claimed.store(false, std::memory_order_release);
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  bool is_whole() const { return num_taken_ == range_.count; }

 private:
  Worker& at(int i) const { return *workers_[static_cast<size_t>(range_.first + i)]; }

  std::vector<std::unique_ptr<Worker>>& workers_;
  const ThreadRange range_;
  int num_taken_ = 0;
};

ThreadPool::ThreadPool(int num_threads, std::vector<int> cpus)
    : num_threads_(num_threads), cpus_(std::move(cpus)) {
  for (int t = 0; t < num_threads; ++t) workers_.push_back(std::make_unique<Worker>());
}

ThreadPool::~ThreadPool() {
  if (is_forked()) {
    // The threads live in the parent; joining them here would wait for ever.
    for (const auto& worker : workers_) {
      if (worker->thread.joinable()) worker->thread.detach();
    }
    return;
  }
  stop_.store(true, std::memory_order_seq_cst);
  for (const auto& worker : workers_) {
    if (!worker->thread.joinable()) continue;
    {
      std::lock_guard<std::mutex> lock(worker->sleep_mutex);
      worker->wake.notify_one();
    }
    worker->thread.join();
  }
}

bool ThreadPool::has(ThreadRange range) const {
  return range.first >= 0 && range.count >= 1 && range.first < num_threads_ &&
         range.count <= num_threads_ - range.first;
}

bool ThreadPool::is_forked() const {
  const int64_t owner = owner_pid_.load();
  return owner != 0 && owner != getpid();
}

void ThreadPool::run(ThreadRange range, Job job, void* context) {
  Worker& own = *workers_[static_cast<size_t>(range.first)];
  own.has_stand_in.store(true, std::memory_order_release);
  if (range.count == 1 || !try_run_range(range, job, context)) run_alone(job, context);
  own.has_stand_in.store(false, std::memory_order_release);
}

void ThreadPool::run_alone(Job job, void* context) {
  enter();
  job(context, 0, 1);
  leave();
}

bool ThreadPool::try_run_range(ThreadRange range, Job job, void* context) {
  const Claim claim(workers_, range);
  if (!claim.is_whole()) return false;
  start_workers(range);
  pin_workers(range, sched_getcpu());
  for (int i = 1; i < range.count; ++i) {
    Worker& worker = *workers_[static_cast<size_t>(range.first + i)];
    worker.job = job;
    worker.context = context;
    worker.thread_idx = i;
    worker.num_threads = range.count;
    const uint64_t generation = worker.generation.load(std::memory_order_relaxed) + 1;
    worker.open.store(generation, std::memory_order_seq_cst);
    worker.generation.store(generation, std::memory_order_seq_cst);
    if (worker.is_asleep.load(std::memory_order_seq_cst)) {
      std::lock_guard<std::mutex> lock(worker.sleep_mutex);
      worker.wake.notify_one();
    }
  }
  enter();
  job(context, 0, range.count);
  leave();
  for (int i = 1; i < range.count; ++i) {
    workers_[static_cast<size_t>(range.first + i)]->open.store(0, std::memory_order_seq_cst);
  }
  for (int i = 1; i < range.count; ++i) {
    const Worker& worker = *workers_[static_cast<size_t>(range.first + i)];
    spin_until([&] { return !worker.is_active.load(std::memory_order_seq_cst); });
  }
  return true;
}

void ThreadPool::start_workers(ThreadRange range) {
  for (int i = 1; i < range.count; ++i) {
    Worker& worker = *workers_[static_cast<size_t>(range.first + i)];
    if (worker.thread.joinable()) continue;
    owner_pid_ = getpid();
    worker.thread = std::thread([this, &worker] { work(worker); });
  }
}

// The caller is not pinned, it is not ours. Workers keep off the CPU that it runs on; where it runs
// on none of the range's, the first one is left for it. The whole pool may use the spare CPUs too.
void ThreadPool::pin_workers(ThreadRange range, int caller_cpu) {
  const auto first = static_cast<size_t>(range.first);
  const auto count = static_cast<size_t>(range.count);
  const size_t end = range.count == num_threads_ ? cpus_.size() : first + count;
  if (end > cpus_.size() || end - first < count) return;  // More threads than CPUs: they float.
  const auto begin_cpu = cpus_.begin() + range.first;
  const auto end_cpu = cpus_.begin() + static_cast<std::ptrdiff_t>(end);
  const bool is_inside = std::find(begin_cpu, end_cpu, caller_cpu) != end_cpu;
  const int kept_free = is_inside ? caller_cpu : *begin_cpu;
  size_t next = first;
  for (size_t t = first + 1; t < first + count; ++t, ++next) {
    if (cpus_[next] == kept_free) ++next;
    Worker& worker = *workers_[t];
    if (worker.cpu != cpus_[next]) pin_to(worker.thread.native_handle(), cpus_[next]);
    worker.cpu = cpus_[next];
  }
}

void ThreadPool::work(Worker& worker) {
  uint64_t seen = 0;
  while (wait_for_job(worker, seen)) {
    seen = worker.generation.load(std::memory_order_acquire);
    // Enter, then look whether the job is still open: its owner closes first and looks after.
    worker.is_active.store(true, std::memory_order_seq_cst);
    if (worker.open.load(std::memory_order_seq_cst) == seen) {
      enter();
      worker.job(worker.context, worker.thread_idx, worker.num_threads);
      leave();
    }
    worker.is_active.store(false, std::memory_order_seq_cst);
  }
}

// Spins for kSpinTime, unless a caller stands in for this thread; then sleeps. False when the pool
// stops.
bool ThreadPool::wait_for_job(Worker& worker, uint64_t seen) {
  const auto ready = [&] {
    return worker.generation.load(std::memory_order_seq_cst) != seen ||
           stop_.load(std::memory_order_acquire);
  };
  const auto spins_on = [&] {
    return !ready() && !worker.has_stand_in.load(std::memory_order_relaxed);
  };
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  while (spins_on() && std::chrono::steady_clock::now() < deadline) {
    for (int i = 0; i < kSpinsPerClockRead && spins_on(); ++i) spin_pause();
  }
  if (!ready()) {
    worker.is_asleep.store(true, std::memory_order_seq_cst);
    std::unique_lock<std::mutex> lock(worker.sleep_mutex);
    worker.wake.wait(lock, ready);
    worker.is_asleep.store(false, std::memory_order_seq_cst);
  }
  return !stop_.load(std::memory_order_acquire);
}

void ThreadPool::enter() {
  const int running = running_.fetch_add(1, std::memory_order_relaxed) + 1;
  int peak = peak_running_.load(std::memory_order_relaxed);
  while (running > peak && !peak_running_.compare_exchange_weak(peak, running)) {
  }
}

}  // namespace colonnade::runtime

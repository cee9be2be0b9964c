// The pool under load: every caller's job is done exactly once, on as many threads as come.
// Meant for the thread sanitizer too.
#include "runtime/thread_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.h"

namespace colonnade::runtime {
namespace {

constexpr int kThreads = 4;

std::vector<int> all_cpus() {
  std::vector<int> cpus;
  for (unsigned cpu = 0; cpu < std::thread::hardware_concurrency(); ++cpu) {
    cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

// Items that threads take one by one; plain counters, so that a lost barrier shows as a data race.
struct Items {
  explicit Items(int count) : times_done(static_cast<size_t>(count)) {}

  static void run(void* context, int thread_idx, int num_threads) {
    Items& items = *static_cast<Items*>(context);
    const int bit = 1 << thread_idx;
    const bool is_new = (items.threads_seen.fetch_or(bit) & bit) == 0;
    if (!is_new || thread_idx >= num_threads) items.num_wrong_threads.fetch_add(1);
    const int count = static_cast<int>(items.times_done.size());
    for (int i = items.next.fetch_add(1); i < count; i = items.next.fetch_add(1)) {
      ++items.times_done[static_cast<size_t>(i)];
      items.num_done.fetch_add(1);
    }
    // As the executor does: whoever leaves last sees all work done.
    spin_until([&] { return items.num_done.load() == count; });
  }

  bool is_done_once() const {
    for (const int times : times_done) {
      if (times != 1) return false;
    }
    return num_wrong_threads.load() == 0 && (threads_seen.load() & 1) != 0;
  }

  std::vector<int> times_done;
  std::atomic<int> next{0};
  std::atomic<int> num_done{0};
  std::atomic<int> threads_seen{0};
  std::atomic<int> num_wrong_threads{0};
};

void run_alone_if_busy(ThreadPool& pool, Items& items) {
  if (!pool.try_run(&Items::run, &items)) Items::run(&items, 0, 1);
}

void test_many_jobs_in_a_row() {
  ThreadPool pool(kThreads, all_cpus());
  for (int round = 0; round < 3000; ++round) {
    Items items(round % 7);
    EXPECT(pool.try_run(&Items::run, &items));
    EXPECT(items.is_done_once());
  }
}

void test_workers_wake_from_sleep() {
  ThreadPool pool(kThreads, all_cpus());
  for (int round = 0; round < 50; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(100 * (round % 5)));
    Items items(100);
    EXPECT(pool.try_run(&Items::run, &items));
    EXPECT(items.is_done_once());
  }
}

void test_several_callers() {
  ThreadPool pool(kThreads, all_cpus());
  std::vector<std::thread> callers;
  std::atomic<int> num_failed{0};
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        Items items(10);
        if (!pool.is_forked()) run_alone_if_busy(pool, items);
        if (!items.is_done_once()) num_failed.fetch_add(1);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(num_failed.load() == 0);
}

void test_one_thread_needs_no_worker() {
  ThreadPool pool(1, all_cpus());
  Items items(10);
  EXPECT(pool.try_run(&Items::run, &items));
  EXPECT(items.is_done_once());
  EXPECT(items.threads_seen.load() == 1);
}

void test_end_at_any_moment() {
  for (int round = 0; round < 100; ++round) {
    ThreadPool pool(kThreads, all_cpus());
    if (round % 3 == 0) continue;
    Items items(round);
    EXPECT(pool.try_run(&Items::run, &items));
    EXPECT(items.is_done_once());
    if (round % 3 == 1) std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
}

int exit_status_of_child(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// First in main: a sanitizer allows a fork only while there is one thread.
void test_fork_before_first_use() {
  ThreadPool pool(kThreads, all_cpus());
  const pid_t child = fork();
  if (child == 0) {
    Items items(100);
    const bool ran = !pool.is_forked() && pool.try_run(&Items::run, &items);
    _exit(ran && items.is_done_once() ? 0 : 1);
  }
  EXPECT(exit_status_of_child(child) == 0);
  EXPECT(!pool.is_forked());
}

void test_fork_after_use_is_noticed() {
  ThreadPool pool(kThreads, all_cpus());
  Items items(10);
  EXPECT(pool.try_run(&Items::run, &items));
  const pid_t child = fork();
  if (child == 0) _exit(pool.is_forked() ? 0 : 1);
  EXPECT(exit_status_of_child(child) == 0);
  EXPECT(!pool.is_forked());
}

}  // namespace
}  // namespace colonnade::runtime

int main() {
  using namespace colonnade::runtime;
  test_fork_before_first_use();
  test_fork_after_use_is_noticed();
  test_many_jobs_in_a_row();
  test_workers_wake_from_sleep();
  test_several_callers();
  test_one_thread_needs_no_worker();
  test_end_at_any_moment();
  return colonnade::test::finish();
}

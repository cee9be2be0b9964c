// The pool under load: every caller's job is done exactly once, on as many threads as come, and
// jobs on ranges that do not overlap run side by side. Meant for the thread sanitizer too.
#include "runtime/thread_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
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
    items.widest = std::max(items.widest.load(), num_threads);
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
  std::atomic<int> widest{0};
  std::atomic<int> num_wrong_threads{0};
};

// Waits for every thread of its range, and for a signal.
struct Meeting {
  static void run(void* context, int, int num_threads) {
    Meeting& meeting = *static_cast<Meeting*>(context);
    meeting.num_inside.fetch_add(1);
    spin_until([&] { return meeting.num_inside.load() >= num_threads && meeting.may_end.load(); });
  }

  std::atomic<int> num_inside{0};
  std::atomic<bool> may_end{false};
};

void test_many_jobs_in_a_row() {
  ThreadPool pool(kThreads, all_cpus());
  for (int round = 0; round < 3000; ++round) {
    Items items(round % 7);
    pool.run(pool.all(), &Items::run, &items);
    EXPECT(items.is_done_once());
    EXPECT(items.widest.load() == kThreads);
  }
  EXPECT(pool.peak_running() <= kThreads);
}

void test_workers_wake_from_sleep() {
  ThreadPool pool(kThreads, all_cpus());
  for (int round = 0; round < 50; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(100 * (round % 5)));
    Items items(100);
    pool.run(pool.all(), &Items::run, &items);
    EXPECT(items.is_done_once());
  }
}

void test_every_thread_of_a_range_comes() {
  ThreadPool pool(kThreads, all_cpus());
  const ThreadRange ranges[] = {{0, 4}, {0, 2}, {2, 2}, {1, 3}, {3, 1}, {0, 4}};
  for (const ThreadRange range : ranges) {
    Meeting meeting;
    meeting.may_end = true;
    pool.run(range, &Meeting::run, &meeting);
    EXPECT(meeting.num_inside.load() == range.count);
  }
  EXPECT(pool.peak_running() == kThreads);
}

// Deadlocks unless the four ranges run at the same time.
void test_ranges_run_side_by_side() {
  ThreadPool pool(kThreads + 2, all_cpus());
  const ThreadRange ranges[] = {{0, 2}, {2, 1}, {3, 1}, {4, 2}};
  std::atomic<int> num_inside{0};
  struct Shared {
    std::atomic<int>* num_inside;
    static void run(void* context, int, int) {
      std::atomic<int>& inside = *static_cast<Shared*>(context)->num_inside;
      inside.fetch_add(1);
      spin_until([&] { return inside.load() == kThreads + 2; });
    }
  } shared{&num_inside};
  std::vector<std::thread> callers;
  for (const ThreadRange range : ranges) {
    callers.emplace_back([&pool, &shared, range] { pool.run(range, &Shared::run, &shared); });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(num_inside.load() == kThreads + 2);
  EXPECT(pool.peak_running() == kThreads + 2);
}

// Callers that own their ranges: never alone, never more threads than the pool has.
void test_owned_ranges_under_load() {
  ThreadPool pool(kThreads, all_cpus());
  std::vector<std::thread> callers;
  std::atomic<int> num_failed{0};
  for (const ThreadRange range : {ThreadRange{0, 2}, ThreadRange{2, 1}, ThreadRange{3, 1}}) {
    callers.emplace_back([&, range] {
      for (int round = 0; round < 500; ++round) {
        Items items(10);
        pool.run(range, &Items::run, &items);
        if (!items.is_done_once() || items.widest.load() != range.count) num_failed.fetch_add(1);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(num_failed.load() == 0);
  EXPECT(pool.peak_running() <= kThreads);
}

// As elastic does it: the whole pool and its parts in turn, one owner at a time.
void test_ranges_change() {
  ThreadPool pool(kThreads, all_cpus());
  std::mutex owner;
  std::vector<std::thread> callers;
  std::atomic<int> num_failed{0};
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < 300; ++round) {
        const int first = (caller + round) % kThreads;
        const ThreadRange range{first, 1 + round % (kThreads - first)};
        Items items(5);
        std::lock_guard<std::mutex> lock(owner);
        pool.run(range, &Items::run, &items);
        if (!items.is_done_once() || items.widest.load() != range.count) num_failed.fetch_add(1);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(num_failed.load() == 0);
  EXPECT(pool.peak_running() <= kThreads);
}

void test_a_busy_range_leaves_its_caller_alone() {
  ThreadPool pool(kThreads, all_cpus());
  Meeting meeting;
  std::thread owner([&] { pool.run({1, 3}, &Meeting::run, &meeting); });
  spin_until([&] { return meeting.num_inside.load() == 3; });
  for (const ThreadRange range : {ThreadRange{0, 2}, ThreadRange{0, 4}, ThreadRange{2, 2}}) {
    Items items(10);
    pool.run(range, &Items::run, &items);
    EXPECT(items.is_done_once());
    EXPECT(items.widest.load() == 1);
  }
  meeting.may_end = true;
  owner.join();
  Items items(10);
  pool.run(pool.all(), &Items::run, &items);
  EXPECT(items.widest.load() == kThreads);
}

void test_several_callers() {
  ThreadPool pool(kThreads, all_cpus());
  std::vector<std::thread> callers;
  std::atomic<int> num_failed{0};
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        Items items(10);
        if (!pool.is_forked()) pool.run(pool.all(), &Items::run, &items);
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
  pool.run(pool.all(), &Items::run, &items);
  EXPECT(items.is_done_once());
  EXPECT(items.threads_seen.load() == 1);
}

void test_which_ranges_there_are() {
  const ThreadPool pool(kThreads, all_cpus());
  EXPECT(pool.has({0, 1}) && pool.has({0, 4}) && pool.has({3, 1}));
  EXPECT(!pool.has({0, 5}) && !pool.has({4, 1}) && !pool.has({3, 2}));
  EXPECT(!pool.has({-1, 1}) && !pool.has({0, 0}) && !pool.has({0, -1}));
  EXPECT(!pool.has({1, 2147483647}));
}

void test_end_at_any_moment() {
  for (int round = 0; round < 100; ++round) {
    ThreadPool pool(kThreads, all_cpus());
    if (round % 3 == 0) continue;
    Items items(round);
    pool.run(round % 2 == 0 ? pool.all() : ThreadRange{1, 2}, &Items::run, &items);
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
  Items alone(10);
  pool.run({2, 1}, &Items::run, &alone);  // Needs no worker, so it is no first use.
  const pid_t child = fork();
  if (child == 0) {
    Items items(100);
    if (!pool.is_forked()) pool.run(pool.all(), &Items::run, &items);
    _exit(items.is_done_once() ? 0 : 1);
  }
  EXPECT(exit_status_of_child(child) == 0);
  EXPECT(!pool.is_forked());
}

void test_fork_after_use_is_noticed() {
  ThreadPool pool(kThreads, all_cpus());
  Items items(10);
  pool.run({2, 2}, &Items::run, &items);
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
  test_every_thread_of_a_range_comes();
  test_ranges_run_side_by_side();
  test_owned_ranges_under_load();
  test_ranges_change();
  test_a_busy_range_leaves_its_caller_alone();
  test_several_callers();
  test_one_thread_needs_no_worker();
  test_which_ranges_there_are();
  test_end_at_any_moment();
  return colonnade::test::finish();
}

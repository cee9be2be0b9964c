// Runs of one plan on several ranges of a pool at once: each has its own arena, which stays, and
// the answers do not depend on the range. Meant for the thread sanitizer too.
#include "exec/executor.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"

namespace colonnade::exec {
namespace {

constexpr int kThreads = 4;
constexpr int64_t kUnits = 37;
constexpr int64_t kBytes = kUnits * static_cast<int64_t>(sizeof(int32_t));

int32_t* numbers(std::byte* data) { return reinterpret_cast<int32_t*>(data); }

// Doubles by way of the scratch: two threads with one scratch would spoil each other's.
RunStatus run_double(const void*, const RunContext& context) {
  for (int64_t u = context.begin; u < context.end; ++u) {
    *numbers(context.scratch) = 2 * numbers(context.operands[0])[u];
    numbers(context.operands[1])[u] = *numbers(context.scratch);
  }
  return {};
}

// Reads what other threads have written: a step begins when the one before is done.
RunStatus run_reverse(const void*, const RunContext& context) {
  for (int64_t u = context.begin; u < context.end; ++u) {
    numbers(context.operands[1])[u] = numbers(context.operands[0])[kUnits - 1 - u] + 1;
  }
  return {};
}

// Wave by wave from one buffer to the other and back; each reads what others wrote the wave before.
RunStatus run_waves(const void*, const RunContext& context) {
  const size_t from = context.wave % 2 == 0 ? 0 : 1;
  for (int64_t u = context.begin; u < context.end; ++u) {
    numbers(context.operands[1 - from])[u] = numbers(context.operands[from])[kUnits - 1 - u] + 1;
  }
  return {};
}

constexpr Op kDouble{"double", nullptr, &run_double, exec::kLast};
constexpr Op kReverse{"reverse", nullptr, &run_reverse, exec::kLast};
constexpr Op kWave{"wave", nullptr, &run_waves, exec::kLast};
constexpr int64_t kWaves = 24;  // Even: the last one ends where the first one began.
constexpr int64_t kSecond = (kBytes + 63) / 64 * 64;

// input -> double -> arena -> waves -> arena -> reverse -> output
Plan make_plan() {
  Plan plan;
  plan.arena_bytes = kSecond + kBytes;
  plan.num_inputs = 1;
  plan.num_outputs = 1;
  plan.scratch_bytes = 64;
  plan.buffers = {{Space::input, 0, 0, kBytes},
                  {Space::arena, 0, 0, kBytes},
                  {Space::output, 0, 0, kBytes},
                  {Space::arena, 0, kSecond, kBytes}};
  Prepared prepared;
  prepared.units = kUnits;
  prepared.scratch_bytes = 64;
  plan.steps.push_back({Split::units, 0, {{&kDouble, "double", {0, 1}, prepared}}, {}});
  Prepared waves = prepared;
  waves.waves = kWaves;
  plan.steps.push_back({Split::units, 0, {{&kWave, "wave", {1, 3}, waves}}, {}});
  plan.steps.push_back({Split::units, 0, {{&kReverse, "reverse", {1, 2}, prepared}}, {}});
  return plan;
}

std::shared_ptr<runtime::ThreadPool> make_pool() {
  return std::make_shared<runtime::ThreadPool>(kThreads, std::vector<int>{});
}

bool run_once(Executor& executor, runtime::ThreadRange range, int32_t seed) {
  std::vector<int32_t> x, y(kUnits);
  for (int32_t u = 0; u < kUnits; ++u) x.push_back(seed + u);
  const std::byte* inputs[] = {reinterpret_cast<const std::byte*>(x.data())};
  std::byte* outputs[] = {reinterpret_cast<std::byte*>(y.data())};
  const RunResult result = executor.run(inputs, outputs, nullptr, range);
  bool is_right = result.status.code == RunCode::ok;
  for (size_t u = 0; u < kUnits; ++u)
    is_right = is_right && y[u] == 2 * x[kUnits - 1 - u] + kWaves + 1;
  return is_right;
}

void test_any_range_gives_the_same() {
  Executor executor(make_plan(), {}, make_pool());
  for (int first = 0; first < kThreads; ++first) {
    for (int count = 1; count <= kThreads - first; ++count) {
      EXPECT(run_once(executor, {first, count}, first + count));
    }
  }
}

void test_ranges_side_by_side() {
  Executor executor(make_plan(), {}, make_pool());
  std::vector<std::thread> callers;
  std::atomic<int> num_failed{0};
  for (const runtime::ThreadRange range :
       {runtime::ThreadRange{0, 2}, runtime::ThreadRange{2, 1}, runtime::ThreadRange{3, 1}}) {
    callers.emplace_back([&, range] {
      for (int round = 0; round < 300; ++round) {
        if (!run_once(executor, range, 100 * range.first + round)) num_failed.fetch_add(1);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(num_failed.load() == 0);
  EXPECT(executor.num_allocations() == 3);
}

void test_a_range_keeps_its_arena() {
  Executor executor(make_plan(), {}, make_pool());
  for (int round = 0; round < 3; ++round) EXPECT(run_once(executor, {0, 2}, round));
  EXPECT(executor.num_allocations() == 1);
  EXPECT(run_once(executor, {0, 1}, 7));  // Fewer threads than it has scratch for.
  EXPECT(executor.num_allocations() == 1);
  EXPECT(run_once(executor, {0, 4}, 7));  // More: it is made anew.
  EXPECT(run_once(executor, {0, 2}, 7));
  EXPECT(executor.num_allocations() == 2);
  EXPECT(run_once(executor, {2, 2}, 7));
  EXPECT(executor.num_allocations() == 3);
}

}  // namespace
}  // namespace colonnade::exec

int main() {
  using namespace colonnade::exec;
  test_any_range_gives_the_same();
  test_ranges_side_by_side();
  test_a_range_keeps_its_arena();
  return colonnade::test::finish();
}

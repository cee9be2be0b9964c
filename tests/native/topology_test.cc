// Topology from made-up /sys trees: caches, siblings, quotas of both cgroup versions, NUMA nodes.
#include "runtime/topology.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "check.h"

namespace colonnade::runtime {
namespace {

class FakeRoot {
 public:
  FakeRoot() {
    std::string pattern = (std::filesystem::temp_directory_path() / "topology_XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~FakeRoot() { std::filesystem::remove_all(root_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  void write(const std::string& file, const std::string& line) const {
    const std::filesystem::path path = root_ + "/sys/" + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << line << '\n';
  }

  const std::string& path() const { return root_; }

 private:
  std::string root_;
};

void write_cache(const FakeRoot& root, int cpu, int index, const char* level, const char* type,
                 const char* size) {
  const std::string dir =
      "devices/system/cpu/cpu" + std::to_string(cpu) + "/cache/index" + std::to_string(index);
  root.write(dir + "/level", level);
  root.write(dir + "/type", type);
  root.write(dir + "/size", size);
}

void test_defaults_where_nothing_is_known() {
  const FakeRoot root;
  const Topology topology = read_topology(root.path());
  EXPECT(!topology.cpus.empty());
  EXPECT(topology.l1d_bytes == 32 << 10 && topology.l2_bytes == 1 << 20);
  EXPECT(topology.quota_cpus == 0.0 && topology.numa_nodes == 1);
  EXPECT(topology.default_threads() >= 1);
}

void test_caches() {
  const FakeRoot root;
  const int cpu = read_topology(root.path()).cpus.front();
  write_cache(root, cpu, 0, "1", "Data", "48K");
  write_cache(root, cpu, 1, "1", "Instruction", "64K");
  write_cache(root, cpu, 2, "2", "Unified", "2048K");
  write_cache(root, cpu, 3, "3", "Unified", "36M");
  const Topology topology = read_topology(root.path());
  EXPECT(topology.l1d_bytes == 48 << 10);
  EXPECT(topology.l2_bytes == 2 << 20);
  EXPECT(topology.l3_bytes == 36 << 20);
}

void test_siblings_share_a_core() {
  const FakeRoot root;
  const std::vector<int> cpus = read_topology(root.path()).cpus;
  for (const int cpu : cpus) {
    const std::string dir = "devices/system/cpu/cpu" + std::to_string(cpu) + "/topology";
    root.write(dir + "/core_id", "0");
    root.write(dir + "/physical_package_id", "0");
  }
  const Topology topology = read_topology(root.path());
  EXPECT(topology.physical_cores == 1);
  EXPECT(topology.cpus.size() == cpus.size());
  EXPECT(topology.default_threads() == 1);
}

void test_quota(const char* file, const char* line, double expected) {
  const FakeRoot root;
  root.write("fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  root.write(std::string("fs/cgroup/") + file, line);
  const Topology topology = read_topology(root.path());
  EXPECT(topology.quota_cpus == expected);
  EXPECT(expected == 0.0 || topology.default_threads() <= static_cast<int>(expected) + 1);
}

void test_numa_nodes() {
  const FakeRoot root;
  root.write("devices/system/node/node0/cpulist", "0-3");
  root.write("devices/system/node/node1/cpulist", "4-7");
  EXPECT(read_topology(root.path()).numa_nodes == 2);
}

// Two cores of two threads each: CPUs 0 and 2 share a cache, and 1 and 3.
void write_two_domains(const FakeRoot& root) {
  for (int cpu = 0; cpu < 4; ++cpu) {
    write_cache(root, cpu, 2, "2", "Unified", "1M");
    write_cache(root, cpu, 3, "3", "Unified", "16M");
    root.write("devices/system/cpu/cpu" + std::to_string(cpu) + "/cache/index3/shared_cpu_list",
               cpu % 2 == 0 ? "0,2" : "1,3");
  }
}

Topology topology_of(std::vector<int> cpus, std::vector<int> domains) {
  Topology topology;
  topology.cpus = std::move(cpus);
  topology.domains = std::move(domains);
  return topology;
}

void test_a_shared_cache_makes_a_domain() {
  const FakeRoot root;
  write_two_domains(root);
  const Topology topology = read_topology(root.path());
  EXPECT(topology.domains.size() == topology.cpus.size());
  const int first = topology.cpus.front();
  for (size_t i = 0; i < topology.cpus.size(); ++i) {
    if (first > 3 || topology.cpus[i] > 3) continue;  // The machine's own CPUs, not ours.
    EXPECT((topology.domains[i] == 0) == (topology.cpus[i] % 2 == first % 2));
  }
}

void test_a_numa_node_makes_a_domain() {
  const FakeRoot root;
  root.write("devices/system/node/node0/cpulist", "0");
  root.write("devices/system/node/node1/cpulist", "1-63");
  const Topology topology = read_topology(root.path());
  for (size_t i = 0; i < topology.cpus.size(); ++i) {
    const bool is_first_node = topology.cpus[i] == 0;
    EXPECT(topology.domains[i] == (is_first_node == (topology.cpus.front() == 0) ? 0 : 1) ||
           topology.cpus[i] > 63);
  }
}

void test_one_domain_where_nothing_is_known() {
  const FakeRoot root;
  const Topology topology = read_topology(root.path());
  const auto count = static_cast<int>(topology.cpus.size());
  EXPECT(topology.threads_by_domain(count) == std::vector<int>{count});
}

void test_threads_of_a_domain_lie_side_by_side() {
  const Topology topology = topology_of({0, 1, 2, 3, 4, 5}, {0, 1, 0, 1, 0, 1});
  EXPECT((topology.cpus_for(4) == std::vector<int>{0, 2, 1, 3, 4, 5}));
  EXPECT((topology.threads_by_domain(4) == std::vector<int>{2, 2}));
  EXPECT((topology.cpus_for(3) == std::vector<int>{0, 2, 1, 3, 4, 5}));
  EXPECT((topology.threads_by_domain(3) == std::vector<int>{2, 1}));
  EXPECT((topology.threads_by_domain(1) == std::vector<int>{1}));
  EXPECT((topology.threads_by_domain(6) == std::vector<int>{3, 3}));
}

void test_more_threads_than_cpus_are_one_domain() {
  const Topology topology = topology_of({0, 1}, {0, 1});
  EXPECT((topology.threads_by_domain(3) == std::vector<int>{3}));
  EXPECT((topology.cpus_for(3) == std::vector<int>{0, 1}));
}

}  // namespace
}  // namespace colonnade::runtime

int main() {
  using namespace colonnade::runtime;
  test_defaults_where_nothing_is_known();
  test_caches();
  test_siblings_share_a_core();
  test_quota("cpu.max", "150000 100000", 1.5);
  test_quota("cpu.max", "max 100000", 0.0);
  test_quota("cpu/cpu.cfs_quota_us", "50000", 0.5);
  test_quota("cpu/cpu.cfs_quota_us", "-1", 0.0);
  test_numa_nodes();
  test_a_shared_cache_makes_a_domain();
  test_a_numa_node_makes_a_domain();
  test_one_domain_where_nothing_is_known();
  test_threads_of_a_domain_lie_side_by_side();
  test_more_threads_than_cpus_are_one_domain();
  return colonnade::test::finish();
}

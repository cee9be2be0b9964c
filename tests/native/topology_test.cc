// Topology from made-up /sys trees: caches, siblings, quotas of both cgroup versions, NUMA nodes.
#include "runtime/topology.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

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
  return colonnade::test::finish();
}

#include "runtime/topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

namespace colonnade::runtime {
namespace {

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<int> affinity_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

// "32K", "1024K", "32M" as /sys writes cache sizes.
int64_t parse_size(const std::string& text) {
  char* end = nullptr;
  int64_t value = std::strtoll(text.c_str(), &end, 10);
  if (*end == 'K') value <<= 10;
  if (*end == 'M') value <<= 20;
  return value;
}

void read_caches(const std::string& cpu_dir, Topology& topology) {
  for (int index = 0; index < 8; ++index) {
    const std::string dir = cpu_dir + "/cache/index" + std::to_string(index);
    const std::string type = read_line(dir + "/type");
    if (type.empty()) return;
    const int64_t bytes = parse_size(read_line(dir + "/size"));
    if (type == "Instruction" || bytes <= 0) continue;
    const std::string level = read_line(dir + "/level");
    if (level == "1") topology.l1d_bytes = bytes;
    if (level == "2") topology.l2_bytes = bytes;
    if (level == "3") topology.l3_bytes = bytes;
  }
}

// One thread of each core first, its siblings after: the pool takes CPUs in this order.
void order_by_core(const std::string& cpu_root, Topology& topology) {
  std::set<std::string> cores;
  std::vector<int> first, siblings;
  for (int cpu : topology.cpus) {
    const std::string dir = cpu_root + "/cpu" + std::to_string(cpu) + "/topology";
    const std::string core = read_line(dir + "/core_id");
    const std::string package = read_line(dir + "/physical_package_id");
    const bool is_new = core.empty() || cores.insert(package + ":" + core).second;
    (is_new ? first : siblings).push_back(cpu);
  }
  topology.physical_cores = static_cast<int>(std::max<size_t>(first.size(), 1));
  first.insert(first.end(), siblings.begin(), siblings.end());
  topology.cpus = std::move(first);
}

double read_quota(const std::string& root) {
  std::istringstream v2(read_line(root + "/sys/fs/cgroup/cpu.max"));
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0)
    return std::atof(quota.c_str()) / period;
  const double v1 = std::atof(read_line(root + "/sys/fs/cgroup/cpu/cpu.cfs_quota_us").c_str());
  const double v1_period =
      std::atof(read_line(root + "/sys/fs/cgroup/cpu/cpu.cfs_period_us").c_str());
  return v1 > 0 && v1_period > 0 ? v1 / v1_period : 0.0;
}

int count_numa_nodes(const std::string& root) {
  int nodes = 0;
  while (!read_line(root + "/sys/devices/system/node/node" + std::to_string(nodes) + "/cpulist")
              .empty()) {
    ++nodes;
  }
  return std::max(nodes, 1);
}

}  // namespace

int Topology::default_threads() const {
  const int by_quota = quota_cpus > 0 ? static_cast<int>(std::ceil(quota_cpus)) : physical_cores;
  return std::max(1, std::min(physical_cores, by_quota));
}

Topology read_topology(const std::string& root) {
  Topology topology;
  topology.cpus = affinity_cpus();
  const std::string cpu_root = root + "/sys/devices/system/cpu";
  read_caches(cpu_root + "/cpu" + std::to_string(topology.cpus.front()), topology);
  order_by_core(cpu_root, topology);
  topology.quota_cpus = read_quota(root);
  topology.numa_nodes = count_numa_nodes(root);
  return topology;
}

}  // namespace colonnade::runtime

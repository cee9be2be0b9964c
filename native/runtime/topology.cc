#include "runtime/topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <sstream>
#include <utility>

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

std::vector<int> parse_cpu_list(const std::string& text) {
  std::vector<int> cpus;
  std::istringstream ranges(text);
  for (std::string range; std::getline(ranges, range, ',');) {
    char* end = nullptr;
    const long first = std::strtol(range.c_str(), &end, 10);
    const long last = *end == '-' ? std::strtol(end + 1, nullptr, 10) : first;
    for (long cpu = first; cpu <= last && cpu < CPU_SETSIZE; ++cpu) {
      cpus.push_back(static_cast<int>(cpu));
    }
  }
  return cpus;
}

std::string node_dir(const std::string& root, int node) {
  return root + "/sys/devices/system/node/node" + std::to_string(node);
}

// The CPUs that share the largest cache of a CPU, as text; its package where no cache is listed.
std::string last_cache(const std::string& cpu_dir) {
  std::string shared = read_line(cpu_dir + "/topology/physical_package_id");
  for (int index = 0; index < 8; ++index) {
    const std::string dir = cpu_dir + "/cache/index" + std::to_string(index);
    const int level = std::atoi(read_line(dir + "/level").c_str());
    // Below the third level a cache is a core's own.
    if (level >= 3) shared = read_line(dir + "/shared_cpu_list");
  }
  return shared;
}

// Numbers the domains in the order of `cpus`.
void find_domains(const std::string& root, Topology& topology) {
  std::map<int, int> node_of;
  for (int node = 0; node < topology.numa_nodes; ++node) {
    for (const int cpu : parse_cpu_list(read_line(node_dir(root, node) + "/cpulist"))) {
      node_of[cpu] = node;
    }
  }
  std::map<std::pair<int, std::string>, int> numbers;
  for (const int cpu : topology.cpus) {
    const std::string cache =
        last_cache(root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu));
    const auto number = static_cast<int>(numbers.size());
    topology.domains.push_back(numbers.try_emplace({node_of[cpu], cache}, number).first->second);
  }
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
  while (!read_line(node_dir(root, nodes) + "/cpulist").empty()) ++nodes;
  return std::max(nodes, 1);
}

}  // namespace

int Topology::default_threads() const {
  const int by_quota = quota_cpus > 0 ? static_cast<int>(std::ceil(quota_cpus)) : physical_cores;
  return std::max(1, std::min(physical_cores, by_quota));
}

std::vector<int> Topology::cpus_for(int threads) const {
  const size_t used = std::min(static_cast<size_t>(threads), cpus.size());
  std::vector<size_t> order(cpus.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(used),
                   [this](size_t a, size_t b) { return domains[a] < domains[b]; });
  std::vector<int> placed;
  for (const size_t i : order) placed.push_back(cpus[i]);
  return placed;
}

std::vector<int> Topology::threads_by_domain(int threads) const {
  if (static_cast<size_t>(threads) > cpus.size()) return {threads};
  std::map<int, int> counts;
  for (int i = 0; i < threads; ++i) ++counts[domains[static_cast<size_t>(i)]];
  std::vector<int> sizes;
  for (const auto& [domain, count] : counts) sizes.push_back(count);
  return sizes;
}

Topology read_topology(const std::string& root) {
  Topology topology;
  topology.cpus = affinity_cpus();
  const std::string cpu_root = root + "/sys/devices/system/cpu";
  read_caches(cpu_root + "/cpu" + std::to_string(topology.cpus.front()), topology);
  order_by_core(cpu_root, topology);
  topology.quota_cpus = read_quota(root);
  topology.numa_nodes = count_numa_nodes(root);
  find_domains(root, topology);
  return topology;
}

}  // namespace colonnade::runtime

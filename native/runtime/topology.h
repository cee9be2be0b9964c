// Cores and caches as the operating system grants them: inside the CPU set and the cgroup quota.
//
// CPUs of one NUMA node that share a last-level cache are a domain.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace colonnade::runtime {

struct Topology {
  std::vector<int> cpus;     // Logical CPUs of the affinity set, one per physical core first.
  std::vector<int> domains;  // Of each of `cpus`: the number of its cache domain.
  int physical_cores = 1;    // Physical cores inside the affinity set.
  double quota_cpus = 0.0;   // cgroup CPU quota in CPUs; 0 = no quota.
  int64_t l1d_bytes = 32 << 10;
  int64_t l2_bytes = 1 << 20;
  int64_t l3_bytes = 0;  // 0 = none or unknown.
  int numa_nodes = 1;

  // Threads that keep every granted core busy: physical cores, capped by the quota.
  int default_threads() const;
  // `cpus` for a pool: those of its threads first, a domain's side by side.
  std::vector<int> cpus_for(int threads) const;
  // How many of a pool's threads each domain has, in the order of cpus_for; one domain where there
  // are more threads than CPUs.
  std::vector<int> threads_by_domain(int threads) const;
};

// Reads sched_getaffinity, /sys and /proc; what is missing keeps its default.
Topology read_topology(const std::string& root = "");

}  // namespace colonnade::runtime

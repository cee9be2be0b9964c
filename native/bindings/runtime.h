#pragma once

#include <memory>

#include "runtime/thread_pool.h"
#include "runtime/topology.h"

namespace colonnade::bindings {

struct Runtime {
  explicit Runtime(int threads);
  runtime::Topology topology;
  std::shared_ptr<runtime::ThreadPool> pool;
};

}  // namespace colonnade::bindings

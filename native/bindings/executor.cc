#include "exec/executor.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "bindings/bindings.h"
#include "bindings/runtime.h"

namespace colonnade::bindings {
namespace {

using Words = nb::ndarray<const int64_t, nb::ndim<1>, nb::device::cpu, nb::c_contig>;
using InputArray = nb::ndarray<nb::ro, nb::device::cpu, nb::c_contig>;
using OutputArray = nb::ndarray<nb::device::cpu, nb::c_contig>;
using Event = std::tuple<int, int, int64_t, int64_t>;

// A plan with its constants kept alive.
class BoundExecutor {
 public:
  BoundExecutor(const Runtime& runtime, const Words& words, std::vector<InputArray> constants,
                const std::string& isa)
      : constants_(std::move(constants)) {
    std::vector<exec::Constant> spans;
    std::vector<const std::byte*> pointers;
    for (const InputArray& constant : constants_) {
      pointers.push_back(static_cast<const std::byte*>(constant.data()));
      spans.emplace_back(pointers.back(), constant.nbytes());
    }
    exec::Plan plan;
    const std::string error =
        exec::decode_plan({words.data(), words.shape(0)}, spans, isa_from(isa), plan);
    if (!error.empty()) throw nb::value_error(error.c_str());
    executor_ =
        std::make_unique<exec::Executor>(std::move(plan), std::move(pointers), runtime.pool);
    pool_ = runtime.pool;
    const exec::Plan& checked = executor_->plan();
    input_bytes_.assign(static_cast<size_t>(checked.num_inputs), 0);
    output_bytes_.assign(static_cast<size_t>(checked.num_outputs), 0);
    for (const exec::Buffer& buffer : checked.buffers) {
      auto* sizes_of = buffer.space == exec::Space::input    ? &input_bytes_
                       : buffer.space == exec::Space::output ? &output_bytes_
                                                             : nullptr;
      if (sizes_of == nullptr) continue;
      int64_t& needed = (*sizes_of)[static_cast<size_t>(buffer.index)];
      needed = std::max(needed, buffer.offset + buffer.bytes);
    }
  }

  // (code, position, value, limit, label): code 0 = done. Drops the GIL while it runs.
  std::tuple<int, int64_t, int64_t, int64_t, std::string> run(
      const std::vector<InputArray>& inputs, const std::vector<OutputArray>& outputs, int first,
      int count) {
    return run_traced(inputs, outputs, nullptr, range_from(first, count));
  }

  std::vector<Event> trace(const std::vector<InputArray>& inputs,
                           const std::vector<OutputArray>& outputs, int first, int count) {
    std::vector<exec::TraceEvent> events;
    const auto result = run_traced(inputs, outputs, &events, range_from(first, count));
    if (std::get<0>(result) != 0) throw std::runtime_error(std::get<4>(result));
    std::vector<Event> rows;
    for (const exec::TraceEvent& e : events) {
      rows.emplace_back(e.call, e.thread, e.start_ns, e.duration_ns);
    }
    return rows;
  }

  int64_t arena_bytes() const { return executor_->plan().arena_bytes; }
  // Of all threads: their scratch and their windows.
  int64_t scratch_bytes() const {
    const exec::Plan& plan = executor_->plan();
    return (plan.scratch_bytes + plan.window_bytes) * pool_->num_threads();
  }
  int64_t num_allocations() const { return executor_->num_allocations(); }

  std::vector<int64_t> step_items() const {
    std::vector<int64_t> items;
    for (size_t i = 0; i < executor_->plan().steps.size(); ++i) {
      items.push_back(executor_->num_items(i));
    }
    return items;
  }

 private:
  runtime::ThreadRange range_from(int first, int count) const {
    if (first == 0 && count == 0) return pool_->all();
    if (!pool_->has({first, count})) throw nb::value_error("the runtime has no such threads");
    return {first, count};
  }

  std::tuple<int, int64_t, int64_t, int64_t, std::string> run_traced(
      const std::vector<InputArray>& inputs, const std::vector<OutputArray>& outputs,
      std::vector<exec::TraceEvent>* trace, runtime::ThreadRange range) {
    if (pool_->is_forked()) {
      throw std::runtime_error("the engine was forked after its first use; create it in the child");
    }
    std::vector<const std::byte*> in;
    std::vector<std::byte*> out;
    if (inputs.size() != input_bytes_.size() || outputs.size() != output_bytes_.size()) {
      throw nb::value_error("wrong number of inputs or outputs");
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (static_cast<int64_t>(inputs[i].nbytes()) < input_bytes_[i]) {
        throw nb::value_error("an input is smaller than the plan's");
      }
      in.push_back(static_cast<const std::byte*>(inputs[i].data()));
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (static_cast<int64_t>(outputs[i].nbytes()) < output_bytes_[i]) {
        throw nb::value_error("an output is smaller than the plan's");
      }
      out.push_back(static_cast<std::byte*>(outputs[i].data()));
    }
    exec::RunResult result;
    {
      nb::gil_scoped_release released;
      result = executor_->run(in, out, trace, range);
    }
    return {static_cast<int>(result.status.code), result.status.position, result.status.value,
            result.status.limit, result.label};
  }

  std::vector<InputArray> constants_;
  std::unique_ptr<exec::Executor> executor_;
  std::shared_ptr<runtime::ThreadPool> pool_;
  std::vector<int64_t> input_bytes_;
  std::vector<int64_t> output_bytes_;
};

}  // namespace

void bind_executor(nb::module_& m) {
  nb::class_<BoundExecutor>(m, "Executor", "A verified plan with its constants, ready to run.")
      .def(nb::init<const Runtime&, const Words&, std::vector<InputArray>, const std::string&>(),
           nb::arg("runtime"), nb::arg("words"), nb::arg("constants"), nb::arg("isa"))
      .def("run", &BoundExecutor::run, nb::arg("inputs"), nb::arg("outputs"), nb::arg("first") = 0,
           nb::arg("count") = 0,
           "Runs on `count` threads of the runtime from thread `first` on; on all by default.")
      .def("trace", &BoundExecutor::trace, nb::arg("inputs"), nb::arg("outputs"),
           nb::arg("first") = 0, nb::arg("count") = 0)
      .def_prop_ro("arena_bytes", &BoundExecutor::arena_bytes)
      .def_prop_ro("scratch_bytes", &BoundExecutor::scratch_bytes)
      .def_prop_ro("num_allocations", &BoundExecutor::num_allocations)
      .def_prop_ro("step_items", &BoundExecutor::step_items,
                   "Work items that each step deals to the threads, in order.");
}

}  // namespace colonnade::bindings

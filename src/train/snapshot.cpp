// SPDX-License-Identifier: MIT
#include "train/snapshot.hpp"

#include <cmath>

#include "core/error.hpp"

namespace isaribi::train {
namespace {

constexpr const char* kWeights = "weights/";
constexpr const char* kNorm = "norm/";
constexpr const char* kOptimizer = "optimizer/";
constexpr const char* kAverage = "average/";

std::vector<core::NamedTensor> weights_of(nn::Graph& graph) {
  std::vector<core::NamedTensor> out;
  for (nn::Parameter* p : graph.parameters()) out.push_back({p->name, p->value});
  return out;
}

template <typename T>
bool finite(const core::Tensor& t) {
  const T* x = t.data<T>();
  for (std::int64_t i = 0; i < t.count(); ++i) {
    if (!std::isfinite(x[i])) return false;
  }
  return true;
}

void require_finite(const core::NamedTensor& t) {
  const bool good = t.tensor.dtype() == core::DType::f64   ? finite<double>(t.tensor)
                    : t.tensor.dtype() == core::DType::f32 ? finite<float>(t.tensor)
                                                           : true;
  if (!good) {
    throw core::NumericalError(
        t.name + " holds a value that is not finite; no checkpoint is written of it",
        "earlier checkpoints are kept: lower optimizer/lr or lengthen schedule/warmup_epochs and "
        "restart");
  }
}

void append(std::vector<core::NamedTensor>& out, const std::string& prefix,
            const std::vector<core::NamedTensor>& tensors, api::Backend& backend) {
  for (const core::NamedTensor& t : tensors) {
    core::Tensor host(t.tensor.shape(), t.tensor.dtype());
    backend.copy(t.tensor, host);
    out.push_back({prefix + t.name, host});
  }
}

/// What `state` has for `targets`, in host memory.
std::vector<core::NamedTensor> read(const checkpoint::State& state, const std::string& file,
                                    const std::string& prefix,
                                    const std::vector<core::NamedTensor>& targets) {
  std::vector<core::NamedTensor> host;
  for (const core::NamedTensor& t : targets)
    host.push_back({t.name, core::Tensor(t.tensor.shape(), t.tensor.dtype())});
  checkpoint::restore(state, prefix, host, file);
  return host;
}

void copy_back(const checkpoint::State& state, const std::string& file, const std::string& prefix,
               const std::vector<core::NamedTensor>& targets, api::Backend& backend) {
  const std::vector<core::NamedTensor> host = read(state, file, prefix, targets);
  for (std::size_t i = 0; i < targets.size(); ++i) backend.copy(host[i].tensor, targets[i].tensor);
  backend.synchronize();
}

void set_weights(const checkpoint::State& state, const std::string& file, const std::string& prefix,
                 nn::Graph& graph, api::Backend& backend) {
  const std::vector<core::NamedTensor> host = read(state, file, prefix, weights_of(graph));
  for (std::size_t i = 0; i < host.size(); ++i) {
    const nn::Parameter& p = *graph.parameters()[i];
    backend.copy(p.part(host[i].tensor), p.part(p.value));
  }
  backend.synchronize();
}

}  // namespace

checkpoint::State capture(const RunState& run) {
  checkpoint::State state;
  append(state.tensors, kWeights, weights_of(run.graph), run.backend);
  append(state.tensors, kNorm, run.graph.state(), run.backend);
  append(state.tensors, kOptimizer, run.optimizer.state(), run.backend);
  append(state.tensors, kAverage, run.average.state(), run.backend);
  run.backend.synchronize();
  for (const core::NamedTensor& t : state.tensors) require_finite(t);
  state.values["average/count"] = run.average.count();
  run.progress.capture(state.values);
  return state;
}

void restore(const checkpoint::State& state, const std::string& file, const RunState& run) {
  restore_weights(state, file, run.graph, run.backend);
  copy_back(state, file, kOptimizer, run.optimizer.state(), run.backend);
  run.optimizer.adopt_state();
  copy_back(state, file, kAverage, run.average.state(), run.backend);
  run.progress.restore(state.values, file);
  const auto count = state.values.find("average/count");
  if (count != state.values.end()) run.average.set_count(std::get<std::int64_t>(count->second));
}

void restore_weights(const checkpoint::State& state, const std::string& file, nn::Graph& graph,
                     api::Backend& backend) {
  set_weights(state, file, kWeights, graph, backend);
  copy_back(state, file, kNorm, graph.state(), backend);
}

bool restore_average(const checkpoint::State& state, const std::string& file, nn::Graph& graph,
                     api::Backend& backend) {
  const auto count = state.values.find("average/count");
  if (count == state.values.end() || std::get<std::int64_t>(count->second) == 0) return false;
  set_weights(state, file, kAverage, graph, backend);
  return true;
}

}  // namespace isaribi::train

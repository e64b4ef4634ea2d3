// SPDX-License-Identifier: MIT
#include "train/residuals.hpp"

#include <algorithm>
#include <cstring>
#include <span>

namespace isaribi::train {
namespace {

constexpr const char* kName = "error_feedback/residual";

}  // namespace

void append_residuals(checkpoint::State& state, const comm::GradientReducer& gradients,
                      comm::Communicator& comm) {
  const core::Tensor mine = gradients.residual();
  if (!mine.defined()) return;
  const core::Tensor all({comm.size(), mine.count()}, core::DType::f32);
  comm.all_gather(
      std::as_bytes(std::span(mine.data<float>(), mine.bytes() / sizeof(float))),
      std::as_writable_bytes(std::span(all.data<float>(), all.bytes() / sizeof(float))));
  state.tensors.push_back({kName, all});
}

void restore_residuals(const checkpoint::State& state, const std::string& file,
                       comm::GradientReducer& gradients, const comm::Communicator& comm,
                       core::Log& log) {
  const core::Tensor mine = gradients.residual();
  if (!mine.defined()) return;
  const auto found = std::find_if(state.tensors.begin(), state.tensors.end(),
                                  [](const core::NamedTensor& t) { return t.name == kName; });
  if (found == state.tensors.end() ||
      found->tensor.shape() != core::Shape{comm.size(), mine.count()}) {
    log.warn("error feedback begins anew: {} {}", file,
             found == state.tensors.end()
                 ? "holds no residuals"
                 : "holds residuals of another number of ranks or of other shards");
    return;
  }
  std::memcpy(mine.raw(), found->tensor.data<float>() + comm.rank() * mine.count(), mine.bytes());
}

}  // namespace isaribi::train

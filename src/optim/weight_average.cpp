// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>

#include "core/error.hpp"
#include "optim/kinds.hpp"

namespace isaribi::optim {

WeightAverage::WeightAverage(const AverageSettings& settings,
                             std::span<nn::Parameter* const> parameters, api::Backend& backend)
    : settings_(settings), parameters_(parameters), backend_(backend) {
  if (settings.kind != "none" && settings.kind != "ema" && settings.kind != "swa") {
    throw core::UsageError("average/kind = \"" + settings.kind + "\" is not known",
                           "use none, ema or swa");
  }
  if (!(settings.decay >= 0 && settings.decay < 1)) {
    throw core::UsageError(fmt::format("average/decay = {} is out of range", settings.decay),
                           "use a number in [0, 1)");
  }
  if (settings.kind == "none" || parameters.empty()) return;
  average_ = zeros_like(parameters, backend);
  const auto largest = std::max_element(
      average_.begin(), average_.end(),
      [](const core::Tensor& a, const core::Tensor& b) { return a.count() < b.count(); });
  scratch_ = backend.make({largest->count()}, largest->dtype());
}

void WeightAverage::update(double epoch) {
  if (average_.empty() || epoch < settings_.start_epoch) return;
  const auto n = static_cast<double>(count_);
  const double keep = count_ == 0 ? 0.0 : settings_.kind == "ema" ? settings_.decay : n / (n + 1.0);
  for (std::size_t i = 0; i < average_.size(); ++i) {
    backend_.elementwise().axpby(
        {.alpha = 1.0 - keep, .x = parameters_[i]->value, .beta = keep, .y = average_[i]});
  }
  ++count_;
}

void WeightAverage::swap() {
  if (!active()) return;
  comm::NodeMemory* const node = nn::node_memory(parameters_);
  if (node != nullptr) node->fence();
  for (std::size_t i = 0; i < average_.size(); ++i) {
    const nn::Parameter& p = *parameters_[i];
    const core::Tensor value = p.part(p.value), average = p.part(average_[i]);
    const core::Tensor spare = scratch_.slice(0, value.shape());
    backend_.copy(value, spare);
    backend_.copy(average, value);
    backend_.copy(spare, average);
  }
  if (node != nullptr) node->fence();
}

bool WeightAverage::active() const {
  return !average_.empty() && count_ > 0;
}

std::vector<core::NamedTensor> WeightAverage::state() {
  std::vector<core::NamedTensor> list;
  for (std::size_t i = 0; i < average_.size(); ++i)
    list.push_back({parameters_[i]->name, average_[i]});
  return list;
}

}  // namespace isaribi::optim

// SPDX-License-Identifier: MIT
#include "core/timer.hpp"

namespace isaribi::core {

PhaseTimers::Scope::Scope(PhaseTimers& timers, std::string_view name)
    : timers_(timers), name_(name), start_(now_seconds()) {
  for (const Observer& observer : timers_.observers_) observer(name_);
}

PhaseTimers::Scope::~Scope() {
  timers_.seconds_[name_] += now_seconds() - start_;
  for (const Observer& observer : timers_.observers_) observer({});
}

double PhaseTimers::seconds_of(std::string_view name) const {
  const auto it = seconds_.find(name);
  return it == seconds_.end() ? 0.0 : it->second;
}

}  // namespace isaribi::core

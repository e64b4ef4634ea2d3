// SPDX-License-Identifier: MIT
#include "optim/kfac/damping.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace isaribi::optim::kfac {

Damping::Damping(const KfacSettings& settings) : settings_(settings), value_(settings.damping) {
  const auto positive = [](const char* key, double value) {
    if (value > 0 && std::isfinite(value)) return;
    throw core::UsageError(fmt::format("kfac/{} = {} is out of range", key, value),
                           "damping must be above 0, or singular factors have no inverse");
  };
  positive("damping", settings.damping);
  if (settings.damping_schedule == "target") {
    positive("damping_target", settings.damping_target);
    rate_ = std::clamp(2 * std::abs(std::log10(settings.damping / settings.damping_target)) /
                           settings.damping_steps,
                       0.0, 1.0);
  }
  if (settings.damping_min > settings.damping_max) {
    throw core::UsageError(fmt::format("kfac/damping_min = {} is above kfac/damping_max = {}",
                                       settings.damping_min, settings.damping_max),
                           "swap them");
  }
}

double Damping::clamped(double value) const {
  return std::clamp(value, settings_.damping_min, settings_.damping_max);
}

void Damping::advance() {
  value_ += rate_ * (settings_.damping_target - value_);
}

void Damping::judge(const Trial& trial) {
  const double factor = std::pow(settings_.lm_factor, static_cast<double>(settings_.lm_every));
  const double ratio = trial.ratio();
  // A model that predicts no decrease, or a loss that is not finite, is no reason to trust it more.
  if (!(ratio >= 0.25) || !(trial.model_change < 0))
    value_ = clamped(value_ / factor);
  else if (ratio > 0.75)
    value_ = clamped(value_ * factor);
}

void Damping::raise() {
  value_ = clamped(10 * value_);
}

FactorDamping split_damping(double lambda, double mean_a, double mean_g) {
  const double pi = mean_a > 0 && mean_g > 0 ? std::sqrt(mean_a / mean_g) : 1.0;
  const double root = std::sqrt(lambda);
  return {.a = pi * root, .g = root / pi};
}

}  // namespace isaribi::optim::kfac

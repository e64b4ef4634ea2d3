// SPDX-License-Identifier: MIT
// Lambda over time, and how it is split between the two factors of a layer.
#pragma once

#include <cstdint>

#include "optim/kfac/settings.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::optim::kfac {

class Damping {
 public:
  /// @throws core::UsageError for values that cannot be.
  explicit Damping(const KfacSettings& settings);
  double value() const { return value_; }
  /// After an accepted step. target: lambda += alpha (lambda_target - lambda) with alpha = 2
  /// log10(lambda_0 / lambda_target) / steps (Osawa et al. 2019).
  void advance();
  /// levenberg_marquardt: rho > 3/4 lowers lambda by omega^every, rho < 1/4 raises it.
  void judge(const Trial& trial);
  /// After a refused step: ten times as much.
  void raise();
  /// For a restart.
  void set(double value) { value_ = value; }

 private:
  double clamped(double value) const;
  KfacSettings settings_;
  double value_;
  double rate_ = 0;
};

/// Factored Tikhonov: A + pi sqrt(lambda) I and G + sqrt(lambda) / pi I with pi = sqrt((tr A / dim
/// A) / (tr G / dim G)), 1 where a trace is 0.
struct FactorDamping {
  double a = 0, g = 0;
};
FactorDamping split_damping(double lambda, double mean_a, double mean_g);

}  // namespace isaribi::optim::kfac

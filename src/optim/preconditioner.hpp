// SPDX-License-Identifier: MIT
// A preconditioner turns the mean gradient of a step into a direction, U = P^-1 grad; everything
// around it (momentum, trust region, weight decay) is one optimizer, preconditioned.cpp. K-FAC is
// the first; ARCHITECTURE.md says what Shampoo or Muon would have to write.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "optim/optimizer.hpp"

namespace isaribi::optim {

/// What came of one call.
struct Direction {
  /// U: of parameter i, of its shape and type, on every rank; in memory of the preconditioner,
  /// which its next call overwrites.
  std::span<const core::Tensor> tensors;
  double product = 0;   ///< sum over layers of <U, grad>, the same on every rank
  std::string refused;  ///< why there is no direction, the same on every rank; empty: there is one
};

class Preconditioner {
 public:
  virtual ~Preconditioner() = default;
  /// What the passes of this step must let it hear.
  virtual Listening begin_step(const StepInfo&) { return {}; }
  /// The rank that needs the gradient of each parameter, by Parameter::id; empty: every rank.
  virtual std::vector<int> gradient_owners() const { return {}; }
  /// L2 decay of the parameters, by Parameter::id, if their gradients do not hold it.
  /// @return true: precondition() adds it itself; false: it reads gradients that hold it.
  virtual bool add_decay(std::span<const double> /*decay*/) { return false; }
  /// Collective, after begin_step's passes and the reduction of gradients.
  virtual Direction precondition(std::int64_t step) = 0;
  /// Collective, instead of precondition: the passes of this step are worthless.
  virtual void discard() {}
  /// The step was made, or refused; adapts damping.
  virtual void accepted() {}
  virtual void refused() {}
  virtual bool wants_trial(std::int64_t /*step*/) const { return false; }
  virtual void judge(const Trial&) {}
  /// lambda of the trust region's quadratic model; 0 without one.
  virtual double damping() const { return 0; }
  /// As in Optimizer.
  virtual void gather_state() {}
  virtual std::vector<core::NamedTensor> state() { return {}; }
  virtual void adopt_state() {}
  virtual std::vector<CurvatureReport> report() { return {}; }
  /// Adds what the interval cost so far and starts counting anew.
  virtual void add_cost(CurvatureCost&) {}
  virtual std::vector<CurvatureDump> dump() { return {}; }
};

}  // namespace isaribi::optim

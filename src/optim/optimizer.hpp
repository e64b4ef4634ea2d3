// SPDX-License-Identifier: MIT
// The interface of an optimizer: it turns the (globally averaged) gradients of the parameters into
// an update.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/api/backend.hpp"
#include "comm/owner_route.hpp"
#include "core/timer.hpp"
#include "nn/curvature.hpp"
#include "nn/parameter.hpp"
#include "optim/kfac/settings.hpp"
#include "optim/settings.hpp"

namespace isaribi::optim {

/// The step that begins.
struct StepInfo {
  std::int64_t step = 1;     ///< counts from 1
  std::int64_t samples = 0;  ///< of all ranks and micro-batches
  std::int64_t parts = 1;    ///< micro-batches
};

/// What an optimizer wants to hear during the passes of a step.
struct Listening {
  nn::CurvatureTap* tap = nullptr;  ///< null: nothing
  api::FisherMode mode = api::FisherMode::sample;
  /// Backward passes of their own, without parameter gradients, for vectors 0, 1, .. of `mode`
  /// before the gradient's; 0: the tap hears that of the gradient (empirical Fisher).
  std::int64_t passes = 0;
};

/// What a step did to the loss, beside what the quadratic model M(d) = g^T d + 1/2 d^T (F + lambda
/// I) d said: rho = (L(w + d) - L(w)) / M(d) is the reduction ratio (Martens & Grosse 2015, 6.5).
struct Trial {
  double loss_change = 0;   ///< L(w + d) - L(w)
  double model_change = 0;  ///< M(d)
  double ratio() const { return model_change == 0 ? 0 : loss_change / model_change; }
};

/// The quadratic model of the mean loss around the weights of a step: M(d) = g^T d + 1/2 d^T J^T H
/// J d, J the Jacobian of the network over the batch and H the Hessian of the loss in its output
/// (generalised Gauss-Newton), in the plane of two directions.
class LossModel {
 public:
  /// g^T p and g^T q; p^T J^T H J p and so on, without damping and weight decay.
  struct Plane {
    double slope_p = 0, slope_q = 0, pp = 0, pq = 0, qq = 0;
  };
  virtual ~LossModel() = default;
  /// Collective. @param p, q one tensor per parameter, like its value. Without q its terms are 0.
  virtual Plane along(std::span<const core::Tensor> p, std::span<const core::Tensor> q) = 0;
};

/// Second-order facts about one layer, for metrics.jsonl. -1: not known.
struct CurvatureReport {
  std::string layer;
  double median_eigenvalue = -1, top_eigenvalue = -1;  ///< of the layer's block of the Fisher
  double condition = -1;                               ///< (top + lambda) / (bottom + lambda)
  double damping = -1;                                 ///< lambda that the inverse was made with
  double cosine = -1;                                  ///< between gradient and direction
  std::int64_t retries = 0;      ///< failed factorisations since the start of the job
  std::int64_t eigen = 0;        ///< inversions by eigenvalues after that
  std::int64_t kept = 0;         ///< inversions that failed altogether: the previous one stayed
  std::int64_t factor_age = 0;   ///< steps since the factors (the older one) were renewed
  std::int64_t inverse_age = 0;  ///< steps since the inverse was
  std::int64_t interval = 0;     ///< steps until the next renewal, as planned last
  int owner = 0;
};

/// The numbers of one layer's step in full, on the host in f64, for those who want to check them.
struct CurvatureDump {
  std::string layer;
  std::vector<core::NamedTensor> tensors;  ///< gradient, direction, A, G (or fisher): full matrices
  std::vector<std::pair<std::string, double>> values;  ///< damping, damping_a, damping_g, ..
};

/// Costs of the last interval, this rank's, in seconds and in payload bytes sent.
struct CurvatureCost {
  double factor_seconds = 0, inverse_seconds = 0, precondition_seconds = 0, exchange_seconds = 0;
  std::int64_t factor_bytes = 0, inverse_bytes = 0, direction_bytes = 0;
  double clip = 1;            ///< smallest factor by which the trust region shortened a step
  std::int64_t clipped = 0;   ///< steps that it shortened
  std::int64_t refused = 0;   ///< steps refused
  std::int64_t modelled = 0;  ///< steps that the quadratic model chose
  double step_size = 0, step_momentum = 0;  ///< of the last of them
  double damping = 0;                       ///< now
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual std::string_view kind() const = 0;
  /// Before the passes of a step.
  virtual Listening begin_step(const StepInfo&) { return {}; }
  /// The rank that needs the gradient of each parameter, by Parameter::id; empty: every rank.
  virtual std::vector<int> gradient_owners() const { return {}; }
  /// One update with learning rate `lr`; `step` counts from 1. Gradients are those of the mean loss
  /// over the global batch. Collective. @return why the step was refused, the same on every rank;
  /// empty: it was made.
  virtual std::string step(double lr, std::int64_t step) = 0;
  /// Collective, instead of step() when the loss is not finite, or after a refused step. @return
  /// whether it is worth going on: the optimizer has become more careful.
  virtual bool refuse() { return false; }
  /// Whether step() reads the quadratic model, and the one of the step to come.
  virtual bool wants_model() const { return false; }
  virtual void set_model(LossModel* /*model*/) {}
  /// Whether the trainer should try the quadratic model on this step, and what came of it.
  virtual bool wants_trial(std::int64_t /*step*/) const { return false; }
  virtual void judge(const Trial&) {}
  virtual double damping() const { return 0; }

  /// Collective, before state() is read or written.
  virtual void gather_state() {}
  /// Everything a restart needs beyond the weights: "momentum/conv1/weight", ...
  virtual std::vector<core::NamedTensor> state() = 0;
  /// After state() was written.
  virtual void adopt_state() {}

  /// Collective: facts for the log, one per layer; and what the interval cost.
  virtual std::vector<CurvatureReport> report() { return {}; }
  virtual std::optional<CurvatureCost> cost() { return std::nullopt; }
  /// Collective: the layers of the last step that this rank owns.
  virtual std::vector<CurvatureDump> dump() { return {}; }
};

/// What optimizers are made over; all of it must outlive them.
struct Subject {
  std::span<nn::Parameter* const> parameters;
  std::span<const nn::CurvedLayer> layers = {};  ///< for second-order kinds
  std::int64_t outputs = 0;                      ///< of the network: columns of an exact Fisher
  comm::OwnerRoute* route = nullptr;             ///< of sums onto owners; null: a direct exchange
  core::PhaseTimers* timers = nullptr;           ///< of what ranks exchange; null: nobody asks
};

/// Whether the kind sums something onto owners: kfac, ekfac, foof.
bool uses_owners(const OptimizerSettings& settings);

/// What make_optimizer would refuse on `ranks` ranks; makes nothing. @throws UsageError
void check_optimizer(const OptimizerSettings& settings, const KfacSettings& kfac,
                     const Subject& subject, int ranks);

/// Makes the optimizer the settings name. Collective for second-order kinds.
/// @throws UsageError for an unknown kind or an impossible value.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings,
                                          const KfacSettings& kfac, const Subject& subject,
                                          api::Backend& backend, comm::Communicator& comm);

/// Learning rate as a function of the position in training: peak x warm-up x decay. The warm-up
/// rises linearly from warmup_start to 1; the decay window starts at start_epoch, or where the
/// warm-up ends when that is 0.
class Schedule {
 public:
  /// @throws UsageError for an unknown kind or an impossible value.
  Schedule(const ScheduleSettings& settings, double peak, double total_epochs);
  /// @param epoch position in epochs, fractional; steps within an epoch advance it evenly.
  double lr(double epoch) const;

 private:
  ScheduleSettings settings_;
  double peak_, total_epochs_;
};

/// Exponential moving average (EMA) or stochastic weight averaging (SWA) of the weights.
/// EMA: average = decay average + (1 - decay) weights, from the first update's weights on; SWA: the
/// mean of the weights at all updates (Izmailov et al. 2018). Running statistics of batch norm are
/// not averaged.
class WeightAverage {
 public:
  /// @throws UsageError for an unknown kind or an impossible value.
  WeightAverage(const AverageSettings& settings, std::span<nn::Parameter* const> parameters,
                api::Backend& backend);
  /// Takes the current weights into the average when `epoch` has reached the start.
  void update(double epoch);
  /// Collective where weights are in node memory: swaps the averaged weights in (before evaluation)
  /// or out (after it); no-op before the first update.
  void swap();
  bool active() const;
  /// The averages under the names of their parameters, "conv1/weight"; empty for kind none. While
  /// swapped in, these hold trained weights: save only when swapped out.
  std::vector<core::NamedTensor> state();
  /// Number of averaged snapshots; part of the checkpoint.
  std::int64_t count() const { return count_; }
  void set_count(std::int64_t count) { count_ = count; }

 private:
  AverageSettings settings_;
  std::span<nn::Parameter* const> parameters_;
  api::Backend& backend_;
  std::vector<core::Tensor> average_;
  core::Tensor scratch_;  ///< the largest parameter, for swap
  std::int64_t count_ = 0;
};

}  // namespace isaribi::optim

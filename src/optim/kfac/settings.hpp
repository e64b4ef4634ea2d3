// SPDX-License-Identifier: MIT
// [kfac] of the deck, as typed values.
#pragma once

#include <cstdint>
#include <string>

namespace isaribi::optim {

struct KfacSettings {
  // The curvature.
  std::string fisher = "empirical";      ///< empirical, monte_carlo, exact, curvature_propagation
  std::int64_t samples = 1;              ///< monte_carlo, curvature_propagation: draws per step
  std::string approximation = "expand";  ///< expand, reduce: weights that are used at many places
  double sample_fraction = 1.0;          ///< approximation: share of the samples that enter factors

  // Averages of the factors over steps.
  double average = 0.95;  ///< weight of the past once it is long; 0: the newest factor alone;
                          ///< adaptive: after factor_every steps
  std::string factor_type = "f64";  ///< of sums and on the wire: f64, f32
  std::string wire = "full";        ///< full, bf16, f16: factors on the wire

  // Damping.
  double damping = 0.03;             ///< lambda at the start
  std::string inverse = "cholesky";  ///< cholesky: factored Tikhonov; eigen: exact Tikhonov
  std::string damping_schedule = "constant";  ///< constant, target, levenberg_marquardt
  double damping_target = 1e-3;               ///< target: where lambda goes
  double damping_steps = 1000;                ///< target: in about this many steps
  std::int64_t lm_every = 5;                  ///< levenberg_marquardt: steps between trials
  double lm_factor = 0.95;                    ///< levenberg_marquardt: omega, per step
  double damping_min = 1e-8, damping_max = 1e3;

  // When statistics and inverses are renewed.
  std::string refresh = "fixed";     ///< fixed, ramp, adaptive
  std::int64_t factor_every = 10;    ///< steps between factors
  std::int64_t inverse_every = 100;  ///< steps between inverses; adaptive: with their factors
  std::int64_t ramp_steps = 1000;    ///< ramp: intervals grow from 1 over this many steps
  double similarity = 0.1;  ///< adaptive: relative change of an average that counts as none

  // The step.
  std::string step_rule = "rate";  ///< rate: lr and momentum of the optimizer; quadratic_model:
                                   ///< both from the model, lr scales the step
  double kl_clip = 1e-3;           ///< bound of the KL divergence of a step; 0: none
  bool rescale_weights = false;  ///< norms of weights before batch norm are kept at sqrt(2 outputs)
  std::int64_t max_refusals = 5;  ///< refused steps in a row that end the run

  // Who computes what.
  std::string placement = "mpd";  ///< mpd, comm_opt, mem_opt, hybrid, dp
  double hybrid_fraction = 0.5;   ///< hybrid: share of the ranks that hold each inverse
};

}  // namespace isaribi::optim

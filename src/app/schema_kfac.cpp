// SPDX-License-Identifier: MIT
// The keys of second-order optimizers: [kfac] and [diagnostics].
#include "app/schema_table.hpp"

namespace isaribi::app {
namespace {

using train::Config;
using enum Restart;

void add_curvature(std::vector<Key>& t) {
  t.push_back({"kfac/fisher", [](Config& c) -> Slot { return &c.kfac.fisher; },
               "what is back-propagated to form G: the gradient itself (empirical), labels drawn "
               "from the model, all classes (exact), or random signs over them",
               one_of({"empirical", "monte_carlo", "exact", "curvature_propagation"})});
  t.push_back({"kfac/samples", [](Config& c) -> Slot { return &c.kfac.samples; },
               "draws per step of monte_carlo and curvature_propagation", from_to(1, 1e6)});
  t.push_back({"kfac/approximation", [](Config& c) -> Slot { return &c.kfac.approximation; },
               "of weights used at many places: expand (KFC) or reduce (sums over places first)",
               one_of({"expand", "reduce"})});
  t.push_back({"kfac/sample_fraction",
               [](Config& c) -> Slot { return &c.kfac.sample_fraction; },
               "share of the samples that enter the factors: an approximation below 1",
               {.low = 0, .high = 1, .above_low = true}});
  t.push_back(
      {"kfac/average",
       [](Config& c) -> Slot { return &c.kfac.average; },
       "weight of the past in the averages of factors, with adaptive intervals after factor_every "
       "steps; 0: the newest alone",
       {.low = 0, .high = 0.999999}});
  t.push_back({"kfac/factor_type", [](Config& c) -> Slot { return &c.kfac.factor_type; },
               "sums of factors: f64 (the number of ranks does not change them) or f32",
               one_of({"f64", "f32"})});
  t.push_back({"kfac/wire", [](Config& c) -> Slot { return &c.kfac.wire; },
               "factors on the wire: full (kfac/factor_type), or rounded once to bf16 or f16",
               one_of({"full", "bf16", "f16"})});
}

void add_damping(std::vector<Key>& t) {
  t.push_back({"kfac/damping", [](Config& c) -> Slot { return &c.kfac.damping; },
               "lambda at the start", above(0)});
  t.push_back(
      {"kfac/inverse", [](Config& c) -> Slot { return &c.kfac.inverse; },
       "cholesky: lambda split between the factors; eigen: lambda on their product, exactly "
       "(ekfac is always eigen, foof always cholesky)",
       one_of({"cholesky", "eigen"}), fixed});
  t.push_back({"kfac/damping_schedule", [](Config& c) -> Slot { return &c.kfac.damping_schedule; },
               "constant; target: towards damping_target; levenberg_marquardt: by how well the "
               "quadratic model predicts the loss",
               one_of({"constant", "target", "levenberg_marquardt"})});
  t.push_back({"kfac/damping_target", [](Config& c) -> Slot { return &c.kfac.damping_target; },
               "target: where lambda goes", above(0)});
  t.push_back({"kfac/damping_steps", [](Config& c) -> Slot { return &c.kfac.damping_steps; },
               "target: in about this many steps", above(0)});
  t.push_back({"kfac/lm_every", [](Config& c) -> Slot { return &c.kfac.lm_every; },
               "levenberg_marquardt: steps between trials", from_to(1, 1e9)});
  t.push_back({"kfac/lm_factor",
               [](Config& c) -> Slot { return &c.kfac.lm_factor; },
               "levenberg_marquardt: change of lambda per step",
               {.low = 0, .high = 1, .above_low = true}});
  t.push_back({"kfac/damping_min", [](Config& c) -> Slot { return &c.kfac.damping_min; },
               "lambda adapts down to this", above(0)});
  t.push_back({"kfac/damping_max", [](Config& c) -> Slot { return &c.kfac.damping_max; },
               "and up to this", above(0)});
}

void add_times(std::vector<Key>& t) {
  t.push_back({"kfac/refresh", [](Config& c) -> Slot { return &c.kfac.refresh; },
               "fixed; ramp: intervals grow to the fixed ones; adaptive: as statistics change "
               "(SP-NGD)",
               one_of({"fixed", "ramp", "adaptive"}), fixed});
  t.push_back({"kfac/factor_every", [](Config& c) -> Slot { return &c.kfac.factor_every; },
               "steps between factors", from_to(1, 1e9)});
  t.push_back({"kfac/inverse_every", [](Config& c) -> Slot { return &c.kfac.inverse_every; },
               "steps between inverses", from_to(1, 1e9)});
  t.push_back({"kfac/ramp_steps", [](Config& c) -> Slot { return &c.kfac.ramp_steps; },
               "ramp: until intervals are full", from_to(1, 1e12)});
  t.push_back(
      {"kfac/similarity", [](Config& c) -> Slot { return &c.kfac.similarity; },
       "adaptive: relative change of an averaged statistic below which it counts as the same",
       above(0)});
}

void add_step(std::vector<Key>& t) {
  t.push_back({"kfac/step_rule", [](Config& c) -> Slot { return &c.kfac.step_rule; },
               "rate: optimizer/lr and momentum; quadratic_model: step size and momentum minimise "
               "the damped Gauss-Newton model of the batch (two more forward passes a step), and "
               "optimizer/lr scales the step (1: as the model says)",
               one_of({"rate", "quadratic_model"})});
  t.push_back({"kfac/kl_clip", [](Config& c) -> Slot { return &c.kfac.kl_clip; },
               "bound of lr^2 <U, gradient>, the KL divergence of a step (quadratic_model: of lr^2 "
               "d^T (F + lambda I) d, d the step at lr = 1); 0: none",
               at_least(0)});
  t.push_back({"kfac/rescale_weights", [](Config& c) -> Slot { return &c.kfac.rescale_weights; },
               "keep the norm of weights before batch norm at sqrt(2 outputs)"});
  t.push_back({"kfac/max_refusals", [](Config& c) -> Slot { return &c.kfac.max_refusals; },
               "steps refused in a row, each with ten times the damping, before the run ends",
               from_to(0, 1e6)});
  t.push_back({"kfac/placement", [](Config& c) -> Slot { return &c.kfac.placement; },
               "who inverts and preconditions: mpd, comm_opt, mem_opt, hybrid, dp",
               one_of({"mpd", "comm_opt", "mem_opt", "hybrid", "dp"}), job});
  t.push_back({"kfac/hybrid_fraction",
               [](Config& c) -> Slot { return &c.kfac.hybrid_fraction; },
               "hybrid: share of the ranks that hold each inverse",
               {.low = 0, .high = 1, .above_low = true},
               job});
}

}  // namespace

void add_second_order(std::vector<Key>& t) {
  add_curvature(t);
  add_damping(t);
  add_times(t);
  add_step(t);
  t.push_back({"diagnostics/dump_steps",
               [](Config& c) -> Slot { return &c.diagnostics.dump_steps; },
               "updates, counted from 0, whose gradients, factors and directions go to "
               "run/dir/diagnostics in f64",
               at_least(0), job});
  t.push_back({"diagnostics/layers_every",
               [](Config& c) -> Slot { return &c.diagnostics.layers_every; },
               "lines of output between two looks at every layer (metrics.jsonl); 0: never",
               at_least(0), job});
}

}  // namespace isaribi::app

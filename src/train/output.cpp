// SPDX-License-Identifier: MIT
#include "train/output.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace isaribi::train {
namespace fs = std::filesystem;
namespace {

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(std::max(0.0, seconds));
  return fmt::format("{}:{:02d}:{:02d}", s / 3600, s / 60 % 60, s % 60);
}

std::string percent(double fraction) {
  return fraction < 0 ? "-" : fmt::format("{:.2f} %", 100 * fraction);
}

}  // namespace

Output::Output(const Config& config, const Context& context, const data::DatasetInfo& train,
               const nn::Graph& graph, int attempts)
    : config_(config),
      context_(context),
      samples_(train.samples),
      parameters_(graph.parameter_count()),
      attempts_(attempts) {
  for (const auto& layer : graph.layers()) multiply_adds_ += layer->multiply_adds();
  for (const nn::Parameter* p : graph.parameters()) {
    if (!p->shards.any() || p->role != nn::Role::weight) continue;
    sharded_ += (sharded_.empty() ? "" : ", ") + p->name;
    copies_ = p->node != nullptr ? "node" : "rank";
  }
}

Output::~Output() = default;

void Output::start(const Progress& progress, std::int64_t total_steps, double steps_per_epoch) {
  total_steps_ = total_steps;
  steps_at_start_ = static_cast<double>(progress.step);
  start_ = interval_start_ = core::now_seconds();
  if (!context_.log.speaks()) return;
  const fs::path dir(config_.run.dir);
  metrics_ = std::make_unique<report::MetricsLog>((dir / "metrics.jsonl").string(), progress.step);
  core::Log& log = context_.log;
  log.info("  model        {}, {} parameters, {:.2f} million multiply-adds per sample",
           config_.model.preset.empty() ? "from the deck" : config_.model.preset, parameters_,
           multiply_adds_ / 1e6);
  log.info("  data         {}: {} samples", config_.data.train, samples_);
  log.info("  batch        {} over {} rank(s), {} steps per epoch, {} steps in all",
           config_.data.batch, context_.comm.size(), steps_per_epoch, total_steps);
  log.info("  optimizer    {}, lr {}, schedule {}", config_.optimizer.kind, config_.optimizer.lr,
           config_.schedule.kind);
  const optim::OptimizerSettings& o = config_.optimizer;
  if (o.kind != "sgd" && o.kind != "adamw") {
    const optim::KfacSettings& k = config_.kfac;
    log.info(
        "  curvature    {} Fisher, {}; factors every {}, inverses every {} steps ({}); {} over "
        "{} rank(s)",
        k.fisher, k.approximation, k.factor_every, k.inverse_every, k.refresh, k.placement,
        context_.comm.size());
  }
  if (!sharded_.empty())
    log.info(
        "  shards       {}: each rank sums and updates its rows, each {} has a copy "
        "(comm/shards)",
        sharded_, copies_);
  log.info("  backend      {}: {}", context_.backend.name(), context_.backend.description());
  log.info("  run folder   {}", config_.run.dir);
  log.info("");
  log.info("{:>8} {:>7} {:>10} {:>9} {:>9} {:>10} {:>6} {:>6} {:>9}", "step", "epoch", "loss",
           "accuracy", "lr", "samples/s", "comm", "data", "left");
  status(progress, static_cast<double>(progress.step) / steps_per_epoch, "running", 0);
}

double Output::training_seconds() const {
  return core::now_seconds() - start_ - pause_;
}

void Output::interval(const Progress& progress, double epoch, double lr,
                      const comm::ReducerStats& traffic) {
  trained_samples_ += progress.interval_samples;
  const double now = core::now_seconds();
  const double elapsed = std::max(1e-9, now - interval_start_ - interval_pause_);
  interval_start_ = now;
  interval_pause_ = 0;
  if (!metrics_) {
    context_.timers.reset();
    return;
  }
  const double n = std::max(1.0, progress.interval_samples);
  const double accuracy = config_.data.targets == "self" ? -1 : progress.interval_correct / n;
  // "exchange" is what lies inside of forward, backward and update.
  const double comm_share =
      (context_.timers.seconds_of("communicate") + context_.timers.seconds_of("exchange")) /
      elapsed;
  const double data_share = context_.timers.seconds_of("data") / elapsed;
  const double done = static_cast<double>(progress.step) - steps_at_start_;
  const double left =
      training_seconds() / std::max(1.0, done) * static_cast<double>(total_steps_ - progress.step);
  context_.log.info("{:>8} {:>7.2f} {:>10.5f} {:>9} {:>9.3g} {:>10.0f} {:>5.1f}% {:>5.1f}% {:>9}",
                    progress.step, epoch, progress.interval_loss / n, percent(accuracy), lr,
                    progress.interval_samples / elapsed, 100 * comm_share, 100 * data_share,
                    clock_text(left));
  nlohmann::ordered_json row;
  row["kind"] = "train";
  row["step"] = progress.step;
  row["epoch"] = epoch;
  row["loss"] = progress.interval_loss / n;
  if (accuracy >= 0) row["accuracy"] = accuracy;
  row["order"] = fmt::format("{:08x}", progress.order);
  row["lr"] = lr;
  row["samples_per_s"] = progress.interval_samples / elapsed;
  row["seconds"] = elapsed;
  for (const char* phase : {"data", "forward", "backward", "communicate", "update", "exchange"}) {
    row[std::string("seconds_") + phase] = context_.timers.seconds_of(phase);
  }
  row["comm_bytes"] = traffic.bytes;
  row["comm_exposed_seconds"] = traffic.exposed_seconds;
  metrics_->write(row);
  context_.timers.reset();
}

void Output::refused(const Progress& progress, const std::string& why) {
  context_.log.warn("step {} was refused: {}; going on with more damping", progress.step + 1, why);
}

void Output::curvature(const Progress& progress, optim::Optimizer& optimizer) {
  const std::optional<optim::CurvatureCost> cost = optimizer.cost();
  if (!cost) return;
  if (metrics_) {
    nlohmann::ordered_json row;
    row["kind"] = "curvature";
    row["step"] = progress.step;
    row["damping"] = cost->damping;
    row["kl_clip_factor"] = cost->clip;
    row["kl_clipped_steps"] = cost->clipped;
    row["refused_steps"] = cost->refused;
    if (cost->modelled > 0) {
      row["model_step_size"] = cost->step_size;
      row["model_momentum"] = cost->step_momentum;
    }
    row["seconds_factors"] = cost->factor_seconds;
    row["seconds_inverses"] = cost->inverse_seconds;
    row["seconds_precondition"] = cost->precondition_seconds;
    row["seconds_exchange"] = cost->exchange_seconds;
    row["bytes_factors"] = cost->factor_bytes;
    row["bytes_inverses"] = cost->inverse_bytes;
    row["bytes_directions"] = cost->direction_bytes;
    metrics_->write(row);
  }
  const std::int64_t every = config_.diagnostics.layers_every;
  if (every == 0 || intervals_++ % every != 0) return;
  const double start = core::now_seconds();
  for (const optim::CurvatureReport& layer : optimizer.report()) {
    if (!metrics_) continue;
    nlohmann::ordered_json row;
    row["kind"] = "layer";
    row["step"] = progress.step;
    row["layer"] = layer.layer;
    row["median_eigenvalue"] = layer.median_eigenvalue;
    row["top_eigenvalue"] = layer.top_eigenvalue;
    row["damping"] = layer.damping;
    row["condition"] = layer.condition;
    row["cosine"] = layer.cosine;
    row["cholesky_retries"] = layer.retries;
    row["eigen_inversions"] = layer.eigen;
    row["kept_inverses"] = layer.kept;
    row["factor_age"] = layer.factor_age;
    row["inverse_age"] = layer.inverse_age;
    row["interval"] = layer.interval;
    row["owner"] = layer.owner;
    metrics_->write(row);
  }
  const double seconds = core::now_seconds() - start;
  pause_ += seconds;
  interval_pause_ += seconds;
}

void Output::evaluation(const Progress& progress, double epoch, double seconds) {
  pause_ += seconds;
  interval_pause_ += seconds;
  if (!metrics_) return;
  context_.log.info("{:>8} {:>7.2f} {:>10.5f} {:>9}   test set, {:.1f} s", progress.step, epoch,
                    progress.test_loss, percent(progress.test_accuracy), seconds);
  nlohmann::ordered_json row;
  row["kind"] = "test";
  row["step"] = progress.step;
  row["epoch"] = epoch;
  row["loss"] = progress.test_loss;
  if (progress.test_accuracy >= 0) row["accuracy"] = progress.test_accuracy;
  metrics_->write(row);
  status(progress, epoch, "running", 0);
}

void Output::checkpoint(const Progress& progress, double seconds) {
  pause_ += seconds;
  interval_pause_ += seconds;
  context_.log.debug("checkpoint of step {} written in {:.2f} s", progress.step, seconds);
}

void Output::status(const Progress& progress, double epoch, const std::string& state, int exit) {
  if (!context_.log.speaks()) return;
  report::write_status(config_.run.dir,
                       {.state = state,
                        .exit = exit,
                        .step = progress.step,
                        .epoch = epoch,
                        .test_accuracy = progress.test_accuracy,
                        .test_loss = progress.test_loss,
                        .samples_per_s = trained_samples_ / std::max(1e-9, training_seconds()),
                        .wall_s = core::now_seconds() - start_,
                        .attempts = attempts_});
}

void Output::finish(Outcome& outcome) {
  outcome.wall_s = core::now_seconds() - start_;
  outcome.samples_per_s = trained_samples_ / std::max(1e-9, training_seconds());
  if (!metrics_) return;
  Progress last;
  last.step = outcome.step;
  last.test_loss = outcome.test_loss;
  last.test_accuracy = outcome.test_accuracy;
  const bool stopped = outcome.code == core::ExitCode::resubmit;
  status(last, outcome.epoch, stopped ? "stopped" : "finished", static_cast<int>(outcome.code));
  if (stopped) {
    context_.log.info("stopped at step {}: {}; the checkpoint is good, submit again to go on",
                      outcome.step, outcome.stop_reason);
  } else {
    context_.log.info("finished: step {}, test accuracy {}, test loss {:.5f}, {:.0f} samples/s, {}",
                      outcome.step, percent(outcome.test_accuracy), outcome.test_loss,
                      outcome.samples_per_s, clock_text(outcome.wall_s));
  }
}

}  // namespace isaribi::train

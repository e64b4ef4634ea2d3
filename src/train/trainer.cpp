// SPDX-License-Identifier: MIT
#include "train/trainer.hpp"

#include <cmath>
#include <filesystem>
#include <optional>

#include "comm/agreement.hpp"
#include "io/report/metrics.hpp"
#include "train/evaluator.hpp"
#include "train/output.hpp"
#include "train/residuals.hpp"
#include "train/sharding.hpp"
#include "train/snapshot.hpp"
#include "train/step.hpp"

namespace isaribi::train {
namespace fs = std::filesystem;
namespace {

/// What `make` returns, made on every rank; a failure anywhere is one error everywhere.
template <typename F>
auto together(comm::Communicator& comm, F&& make) {
  std::optional<decltype(make())> made;
  comm::run_together(comm, [&] { made.emplace(make()); });
  return std::move(*made);
}

std::int64_t largest_slice(std::int64_t batch, int ranks) {
  return (batch + ranks - 1) / ranks;
}

class Trainer {
 public:
  Trainer(const Config& config, const Context& context, const RunInputs& inputs,
          const data::DatasetInfo& train);
  Outcome run();

 private:
  std::optional<checkpoint::Loaded> find_checkpoint();
  std::int64_t total_steps() const;
  double epoch_of(std::int64_t step) const {
    return static_cast<double>(step) / static_cast<double>(steps_per_epoch_);
  }
  bool epoch_ends() const { return progress_.batch == 0; }
  void advance_cursor();
  void between_steps(const StepSums& sums);
  void evaluate_now();
  void save_now();
  RunState state() { return {*graph_, *optimizer_, average_, progress_, context_.backend}; }

  const Config& config_;
  const Context& context_;
  const RunInputs& inputs_;
  std::string checkpoints_;
  data::DatasetInfo train_info_;
  data::Loader loader_, test_loader_;
  std::unique_ptr<comm::NodeMemory> node_memory_;  ///< of the graph's weights in shards, if any
  std::unique_ptr<nn::Graph> graph_;
  Objective objective_;
  Feed feed_;  ///< of evaluations
  std::vector<nn::CurvedLayer> curved_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  optim::WeightAverage average_;
  Step step_;
  std::int64_t micro_, steps_per_epoch_;
  optim::Schedule schedule_;
  Progress progress_;
  Output output_;
  std::int64_t saved_step_ = -1;
};

/// The loader delivers micro-batches: parts of the global batch, each of them spread over all
/// ranks.
data::DataSettings micro_batched(const Config& config) {
  data::DataSettings d = config.data;
  if (config.train.micro_batches < 1 || d.batch % config.train.micro_batches != 0) {
    throw core::UsageError("train/micro_batches = " + std::to_string(config.train.micro_batches) +
                               " does not divide data/batch = " + std::to_string(d.batch),
                           "choose a divisor of the global batch");
  }
  if (config.train.micro_batches > 1 && !d.drop_last) {
    throw core::UsageError("train/micro_batches > 1 needs data/drop_last = true",
                           "the parts of a global batch must have the same size");
  }
  d.batch /= config.train.micro_batches;
  return d;
}

data::DataSettings for_evaluation(data::DataSettings d) {
  d.batch = d.eval_batch;
  d.drop_last = false;
  return d;
}

nn::GraphOptions graph_options(const Config& config, const Context& context) {
  const int ranks = context.comm.size();
  const bool on_host = context.backend.memory().device() == core::Device{};
  return {
      .max_batch = std::max(largest_slice(config.data.batch / config.train.micro_batches, ranks),
                            largest_slice(config.data.eval_batch, ranks)),
      .gradient_type = core::parse_dtype(config.train.gradient_type),
      .seed = config.run.seed,
      .sharding = on_host ? sharding_of(config, context.comm.rank(), ranks) : nn::Sharding{}};
}

/// A data set that the weights trained on `train` can be evaluated on.
void require_same_kind(const data::DatasetInfo& train, const data::DatasetInfo& test) {
  if (test.sample != train.sample || test.classes != train.classes) {
    throw core::DataError(
        test.path,
        fmt::format("has samples {} of {} classes, the training set {} of {}", test.sample.text(),
                    test.classes, train.sample.text(), train.classes),
        "data/train and data/test must come from the same source");
  }
}

nn::ModelSpec with_outputs(nn::ModelSpec model, const data::DatasetInfo& info) {
  if (model.outputs == 0) model.outputs = info.classes > 0 ? info.classes : info.sample.count();
  return model;
}

Trainer::Trainer(const Config& config, const Context& context, const RunInputs& inputs,
                 const data::DatasetInfo& train)
    : config_(config),
      context_(context),
      inputs_(inputs),
      checkpoints_((fs::path(config.run.dir) / "checkpoints").string()),
      train_info_(train),
      loader_(micro_batched(config), config.data.train, train_info_, true, config.run.seed,
              context.comm, context.log),
      test_loader_(for_evaluation(config.data), config.data.test, train_info_, false,
                   config.run.seed, context.comm, context.log),
      node_memory_(node_memory_of(config, context, with_outputs(config.model, train_info_),
                                  train_info_.sample, graph_options(config, context),
                                  inputs.reduction->owner_route())),
      graph_(together(context.comm,
                      [&] {
                        nn::GraphOptions options = graph_options(config, context);
                        options.sharding.node = node_memory_.get();
                        return std::make_unique<nn::Graph>(with_outputs(config.model, train_info_),
                                                           train_info_.sample, context.backend,
                                                           options);
                      })),
      objective_(together(context.comm,
                          [&] {
                            return Objective(
                                config.train, config.data, graph_->output_sample_shape(),
                                train_info_.sample, train_info_.classes, core::DType::f32,
                                graph_options(config, context).max_batch, context.backend);
                          })),
      feed_(context.backend),
      curved_(graph_->curved_layers()),
      optimizer_(optim::make_optimizer(
          config.optimizer, config.kfac,
          {graph_->parameters(), curved_, graph_->output_sample_shape().count(),
           inputs.reduction->owner_route(), &context.timers},
          context.backend, context.comm)),
      average_(config.average, graph_->parameters(), context.backend),
      step_(config, context, inputs, loader_, *graph_, objective_, *optimizer_),
      micro_(config.train.micro_batches),
      steps_per_epoch_(loader_.batches_per_epoch() / micro_),
      schedule_(config.schedule, config.optimizer.lr, config.train.epochs),
      output_(config, context, train_info_, *graph_, inputs.attempts) {
  if (steps_per_epoch_ == 0) {
    throw comm::CollectiveError(core::ExitCode::usage,
                                "data/batch = " + std::to_string(config.data.batch) +
                                    " is larger than the " + std::to_string(train_info_.samples) +
                                    " samples of " + config.data.train,
                                "lower data/batch, or set data/drop_last = false");
  }
}

std::int64_t Trainer::total_steps() const {
  if (config_.train.steps > 0) return config_.train.steps;
  return std::llround(config_.train.epochs * static_cast<double>(steps_per_epoch_));
}

std::optional<checkpoint::Loaded> Trainer::find_checkpoint() {
  const std::string& restart = config_.checkpoint.restart;
  auto phase = context_.timers.phase("restart");
  if (restart != "auto" && restart != "never") {
    return checkpoint::Loaded{checkpoint::load(restart, context_.comm), restart};
  }
  std::optional<checkpoint::Loaded> found;
  if (restart == "auto" || inputs_.resume)
    found = checkpoint::load_latest(checkpoints_, context_.comm, context_.log);
  if (inputs_.resume && !found) {
    throw comm::CollectiveError(
        core::ExitCode::data, checkpoints_ + ": --resume was asked for, but there is no checkpoint",
        "check run/dir, or leave --resume out to start from the beginning");
  }
  return found;
}

void Trainer::advance_cursor() {
  ++progress_.step;
  progress_.batch += micro_;
  if (progress_.batch / micro_ < steps_per_epoch_) return;
  const bool leftover =
      progress_.batch < loader_.batches_per_epoch();  // micro-batches that fill no step
  ++progress_.epoch;
  progress_.batch = 0;
  if (leftover) loader_.seek({progress_.epoch, 0});
}

void Trainer::evaluate_now() {
  const double start = core::now_seconds();
  average_.swap();
  const Evaluation e =
      evaluate_all(context_, test_loader_, *graph_, objective_, feed_, config_.run.seed);
  average_.swap();
  progress_.evaluated_step = progress_.step;
  progress_.test_loss = e.loss;
  progress_.test_accuracy = e.accuracy;
  output_.evaluation(progress_, epoch_of(progress_.step), core::now_seconds() - start);
}

void Trainer::save_now() {
  if (saved_step_ == progress_.step) return;
  auto phase = context_.timers.phase("checkpoint");
  const double start = core::now_seconds();
  optimizer_->gather_state();
  checkpoint::State s = together(context_.comm, [&] { return capture(state()); });
  append_residuals(s, step_.gradients(), context_.comm);
  s.values["seed"] = static_cast<std::int64_t>(config_.run.seed);
  s.values["data/digest"] = train_info_.digest;
  s.notes["deck"] = inputs_.deck;
  s.notes["isa"] = inputs_.isa;
  s.notes["ranks"] = std::int64_t{context_.comm.size()};
  checkpoint::save(checkpoints_, progress_.step, s, config_.checkpoint.keep, context_.comm);
  saved_step_ = progress_.step;
  const double seconds = core::now_seconds() - start;
  if (inputs_.checkpoint_took) inputs_.checkpoint_took(seconds);
  output_.checkpoint(progress_, seconds);
}

void Trainer::between_steps(const StepSums& sums) {
  if (std::isfinite(sums.loss)) {  // else the step was refused
    progress_.interval_loss += sums.loss;
    progress_.interval_correct += sums.correct;
    progress_.interval_samples += sums.samples;
  }
  progress_.order =
      core::philox4x32(
          {{static_cast<std::uint32_t>(progress_.order),
            static_cast<std::uint32_t>(static_cast<std::uint64_t>(sums.order)),
            static_cast<std::uint32_t>(static_cast<std::uint64_t>(sums.order) >> 32), 1}},
          0, 0)
          .w[0];
  if (progress_.step % config_.train.log_every == 0 || progress_.step == total_steps()) {
    output_.interval(progress_, epoch_of(progress_.step),
                     schedule_.lr(epoch_of(progress_.step - 1)), step_.gradients().stats());
    output_.curvature(progress_, *optimizer_);
    progress_.clear_interval();
    step_.gradients().reset_stats();
  }
  const std::int64_t every = config_.train.eval_every;
  if (every > 0 ? progress_.step % every == 0 : epoch_ends()) evaluate_now();
  const std::int64_t save_every = config_.checkpoint.every;
  if (save_every > 0 ? progress_.step % save_every == 0 : epoch_ends()) save_now();
}

Outcome Trainer::run() {
  const std::optional<checkpoint::Loaded> found = find_checkpoint();
  if (found) {
    optimizer_->gather_state();
    comm::run_together(context_.comm, [&] { restore(found->state, found->path, state()); });
    restore_residuals(found->state, found->path, step_.gradients(), context_.comm, context_.log);
    context_.log.info("restarted from {}: step {}, epoch {:.2f}", found->path, progress_.step,
                      epoch_of(progress_.step));
    saved_step_ = progress_.step;
  } else if (!inputs_.initial_weights.empty()) {
    const checkpoint::State weights = checkpoint::load(inputs_.initial_weights, context_.comm);
    comm::run_together(context_.comm, [&] {
      restore_weights(weights, inputs_.initial_weights, *graph_, context_.backend);
    });
  }
  output_.start(progress_, total_steps(), static_cast<double>(steps_per_epoch_));
  loader_.seek({progress_.epoch, progress_.batch});

  Outcome outcome;
  bool stop = false;
  while (progress_.step < total_steps() && !stop) {
    if (inputs_.on_step) inputs_.on_step(progress_.step);
    const StepSums sums = step_.run(progress_.step, schedule_.lr(epoch_of(progress_.step)));
    if (sums.refused.empty()) {
      average_.update(epoch_of(progress_.step + 1));
    } else {
      output_.refused(progress_, sums.refused);
    }
    advance_cursor();
    between_steps(sums);
    stop = sums.stop;
  }
  if (progress_.step >= total_steps() && progress_.evaluated_step != progress_.step) evaluate_now();
  save_now();
  if (stop && progress_.step < total_steps()) {
    outcome.code = core::ExitCode::resubmit;
    outcome.stop_reason = comm::agree_on_reason(context_.comm, inputs_.stop_reason());
  }
  outcome.step = progress_.step;
  outcome.epoch = epoch_of(progress_.step);
  outcome.test_accuracy = progress_.test_accuracy;
  outcome.test_loss = progress_.test_loss;
  output_.finish(outcome);
  return outcome;
}

}  // namespace

Outcome run(const Config& config, const Context& context, const RunInputs& inputs) {
  const data::DatasetInfo train = together(context.comm, [&] {
    micro_batched(config);
    const data::DatasetInfo info = data::read_info(config.data.train);
    require_same_kind(info, data::read_info(config.data.test));
    return info;
  });
  return Trainer(config, context, inputs, train).run();
}

Evaluation evaluate(const Config& config, const Context& context, const std::string& state_file,
                    const std::string& data_file) {
  const data::DatasetInfo train = together(context.comm, [&] {
    const data::DatasetInfo info = data::read_info(config.data.train);
    require_same_kind(info, data::read_info(data_file));
    return info;
  });
  data::Loader loader(for_evaluation(config.data), data_file, train, false, config.run.seed,
                      context.comm, context.log);
  const std::int64_t max_batch = largest_slice(config.data.eval_batch, context.comm.size());
  const checkpoint::State state = checkpoint::load(state_file, context.comm);
  const std::unique_ptr<nn::Graph> graph = together(context.comm, [&] {
    auto g = std::make_unique<nn::Graph>(
        with_outputs(config.model, train), train.sample, context.backend,
        nn::GraphOptions{.max_batch = max_batch, .training = false, .seed = config.run.seed});
    restore_weights(state, state_file, *g, context.backend);
    restore_average(state, state_file, *g, context.backend);
    return g;
  });
  Objective objective(config.train, config.data, graph->output_sample_shape(), train.sample,
                      train.classes, core::DType::f32, max_batch, context.backend);
  Feed feed(context.backend);
  return evaluate_all(context, loader, *graph, objective, feed, config.run.seed);
}

}  // namespace isaribi::train

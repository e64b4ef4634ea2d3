// SPDX-License-Identifier: MIT
// isaribi plan: what a run would need and do, from its deck alone. Touches no device; the data sets
// need not be there.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "app/job.hpp"
#include "app/machine_file.hpp"
#include "app/verbs/plan_allreduce.hpp"
#include "app/verbs/plan_kfac.hpp"
#include "app/verbs/verbs.hpp"
#include "comm/allreduce/plan_choice.hpp"
#include "comm/rank_slice.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"
#include "train/sharding.hpp"

namespace isaribi::app {
namespace {

struct PlanOptions {
  std::string deck;
  std::vector<std::string> overrides;
  std::int64_t ranks = 1;
  std::vector<std::int64_t> sample;
  std::int64_t samples = 0, classes = 0;
  double gigabytes = 10;
  std::string topology, bytes = "100M";
  int shown = 20;
  bool containment = false;
};

/// The training set: of the file, or as the command line describes it.
data::DatasetInfo describe_data(const PlanOptions& options, const train::Config& config) {
  data::DatasetInfo info;
  std::error_code error;
  const bool there =
      !config.data.train.empty() && std::filesystem::exists(config.data.train, error);
  if (there) info = data::read_info(config.data.train);
  if (!options.sample.empty()) info.sample = core::Shape(options.sample);
  if (options.samples > 0) info.samples = options.samples;
  if (options.classes > 0) info.classes = options.classes;
  if (info.sample.rank() == 0)
    throw core::DataError(config.data.train.empty() ? "data/train" : config.data.train,
                          "is not there, so the shape of a sample is not known",
                          "give it: --sample 28,28,1 --samples 60000 --classes 10");
  return info;
}

void layer_table(const nn::Graph& graph, core::Log& log) {
  log.info("{:<24} {:<20} {:<18} {:>12} {:>14}", "layer", "kind", "output", "parameters",
           "multiply-adds");
  double multiply_adds = 0;
  for (std::size_t i = 0; i < graph.layers().size(); ++i) {
    nn::Layer& layer = *graph.layers()[i];
    std::int64_t count = 0;
    for (const nn::Parameter& p : layer.parameters()) count += p.shape.count();
    multiply_adds += layer.multiply_adds();
    log.info("{:<24} {:<20} {:<18} {:>12} {:>14.0f}", layer.name(), layer.kind(),
             graph.layer_shape(i).text(), count, layer.multiply_adds());
  }
  log.info("{:<24} {:<20} {:<18} {:>12} {:>14.0f}", "total", "", "per sample",
           graph.parameter_count(), multiply_adds);
}

/// f32 scalars that the optimizer keeps per parameter.
int moments(const train::Config& config) {
  return config.optimizer.kind == "adamw" ? 2 : config.optimizer.momentum > 0 ? 1 : 0;
}
int averages(const train::Config& config) {
  return config.average.kind == "none" ? 0 : 1;
}

/// What is sharded of the parameters.
struct ShardCounts {
  double all = 0, own = 0;  ///< scalars of sharded parameters; of those that a rank owns
  double factors = 0;       ///< scalars that their gradients are made of, of the whole batch
  int weights = 0;
};

ShardCounts count_shards(const nn::Graph& graph, std::int64_t batch) {
  ShardCounts counts;
  for (const nn::Parameter* p : graph.parameters()) {
    if (!p->shards.any()) continue;
    const core::Shape own = p->own_shape();
    counts.all += static_cast<double>(p->shape.count());
    counts.own += static_cast<double>(own.count());
    if (p->role != nn::Role::weight) continue;
    ++counts.weights;
    counts.factors += static_cast<double>(batch * (own[0] + own[1]));
  }
  return counts;
}

void memory_table(const nn::Graph& graph, const train::Config& config,
                  const data::DatasetInfo& info, std::int64_t slice, core::Log& log) {
  const nn::Graph::Memory m = graph.memory();
  const double parameters = 4.0 * static_cast<double>(graph.parameter_count());
  const ShardCounts shards = count_shards(graph, 0);
  const double own = parameters - 4 * (shards.all - shards.own);
  const double state = moments(config) * own + averages(config) * parameters;
  const double residual = config.comm.error_feedback ? parameters - 4 * shards.all : 0;
  const double batches = static_cast<double>(config.data.prefetch + 1) *
                         static_cast<double>(slice) * static_cast<double>(info.sample.count()) * 4;
  const double total = static_cast<double>(m.activations + m.activation_gradients + m.parameters +
                                           m.gradients + m.workspaces) +
                       state + residual + batches;
  const auto line = [&](const char* name, double bytes) {
    log.info("  {:<24} {:>12}", name, bytes_text(bytes));
  };
  log.info("\nmemory per rank, {} samples at most in one pass", slice);
  line("activations", static_cast<double>(m.activations));
  line("their gradients", static_cast<double>(m.activation_gradients));
  line("parameters", static_cast<double>(m.parameters));
  line("their gradients", static_cast<double>(m.gradients));
  line("layer workspaces", static_cast<double>(m.workspaces));
  line("optimizer, averages", state);
  if (residual > 0) line("error feedback", residual);
  line("batches ahead", batches);
  line("sum", total);
  if (shards.weights > 0 && config.comm.shards == "auto")
    log.info("  {:<24} {:>12}  weights in shards: one copy for all ranks of a node (comm/shards)",
             "of it, once per node", bytes_text(static_cast<double>(graph.shared_bytes(false))));
  const double set = static_cast<double>(info.samples) * static_cast<double>(info.sample.count()) *
                     static_cast<double>(core::size_of(info.type));
  const bool preload = set <= static_cast<double>(config.data.preload_mb) * 1024 * 1024;
  if (info.samples > 0)
    log.info("  {:<24} {:>12}  {}", "training set", bytes_text(set),
             preload ? "once per node, shared" : "streamed: larger than data/preload_mb");
}

void traffic_table(const nn::Graph& graph, const train::Config& config, const PlanOptions& options,
                   core::Log& log) {
  const double width = config.train.gradient_type == "f64" ? 8 : 4;
  const ShardCounts shards = count_shards(graph, config.data.batch / config.train.micro_batches);
  const double gradient = width * (static_cast<double>(graph.parameter_count()) - shards.all);
  const double n = static_cast<double>(options.ranks);
  const double wire = 2 * (n - 1) / n * gradient;
  const double bucket = static_cast<double>(config.comm.bucket_kb) * 1024;
  const std::string buckets = bucket > 0
                                  ? fmt::format("in {:.0f} bucket(s)", std::ceil(gradient / bucket))
                                  : "in buckets that fit the model";
  log.info("\ncommunication per step, {} ranks", options.ranks);
  log.info("  {:<24} {:>12}  as {}, {}", "gradient", bytes_text(gradient),
           config.train.gradient_type, buckets);
  log.info("  {:<24} {:>12}  2 (n - 1) / n of it, the least any allreduce can do",
           "sent by each rank", bytes_text(options.ranks == 1 ? 0 : wire));
  if (shards.weights > 0) {
    const auto micro = static_cast<double>(config.train.micro_batches);
    log.info("  {:<24} {:>12}  (n - 1) / n of what the gradients of {} weight(s) are made of",
             "shards, sent", bytes_text((n - 1) / n * 4 * micro * shards.factors), shards.weights);
    log.info("  {:<24} {:>12}  (n - 1) / n of their {:.0f} scalars, updated{}", "",
             bytes_text((n - 1) / n * 4 * shards.all), shards.all,
             config.comm.shards == "auto" ? "; none within a node" : "");
  }
  double channels = 0;  // of all batch norm layers
  for (const nn::Parameter* p : graph.parameters()) {
    if (p->role == nn::Role::norm_scale) channels += static_cast<double>(p->shape.count());
  }
  if (config.model.batch_norm_sync && channels > 0)
    log.info("  {:<24} {:>12}  two sums per channel, forward and backward (model/batch_norm_sync)",
             "batch norm", bytes_text(channels * 2 * 2 * 8));
  const double parameters = 4.0 * static_cast<double>(graph.parameter_count());
  log.info("\ncheckpoint                 {:>12}  weights, optimizer, averages, statistics",
           bytes_text((1 + moments(config) + averages(config)) * parameters + channels * 2 * 4));
}

void schedule_table(const train::Config& config, const data::DatasetInfo& info,
                    const PlanOptions& options, core::Log& log) {
  const std::int64_t batch = config.data.batch, micro = batch / config.train.micro_batches;
  log.info("\ndata order");
  if (info.samples > 0) {
    const std::int64_t per_epoch =
        config.data.drop_last ? info.samples / batch : (info.samples + batch - 1) / batch;
    const double steps = config.train.steps > 0
                             ? static_cast<double>(config.train.steps)
                             : config.train.epochs * static_cast<double>(per_epoch);
    log.info("  {} samples in batches of {}: {} steps per epoch, {:.0f} steps in all", info.samples,
             batch, per_epoch, steps);
  }
  if (config.train.micro_batches > 1)
    log.info("  each batch in {} parts of {} samples", config.train.micro_batches, micro);
  const std::int64_t shown = std::min<std::int64_t>(options.ranks, 4);
  for (std::int64_t r = 0; r < shown; ++r) {
    const auto [begin, end] =
        comm::rank_slice(micro, static_cast<int>(r), static_cast<int>(options.ranks));
    log.info("  rank {:<6} samples {} to {} of each batch", r, begin, end - 1);
  }
  if (shown < options.ranks) log.info("  ... and so on to rank {}", options.ranks - 1);
  if (micro < options.ranks)
    log.info("  note: {} ranks have no sample: the batch is smaller than the number of ranks",
             options.ranks - micro);
}

core::ExitCode plan_verb(const PlanOptions& options, Session& session) {
  if (options.containment && (options.topology.empty() || !options.deck.empty()))
    throw core::UsageError("plan --containment is about the allreduce of a machine, without a deck",
                           "isaribi plan --ranks 2048 --topology FILE --containment");
  if (options.deck.empty()) {
    if (options.topology.empty())
      throw core::UsageError("plan needs a deck, or a machine: --topology FILE",
                             "isaribi plan --help shows examples");
    const MachineFile machine = read_machine_file(options.topology);
    const auto ranks = static_cast<int>(options.ranks);
    const std::int64_t bytes = comm::parse_bytes(options.bytes);
    allreduce_table(machine, ranks, bytes, options.shown, session.log);
    if (options.containment) containment_table(machine, ranks, bytes, session.log);
    return core::ExitCode::ok;
  }
  Deck deck = read_deck(session, options.deck, options.overrides);
  // A plan needs no data: what check() wants of the paths is met by the command line.
  if (deck.config().data.train.empty()) deck.override_with("data/train=(none)");
  if (deck.config().data.test.empty()) deck.override_with("data/test=(none)");
  deck.check();
  const train::Config& config = deck.config();
  const data::DatasetInfo info = describe_data(options, config);
  nn::ModelSpec model = config.model;
  if (model.outputs == 0) model.outputs = info.classes > 0 ? info.classes : info.sample.count();
  core::Log silent(1);
  const auto backend = session.backends.create("reference", {}, silent);
  const std::int64_t micro = config.data.batch / config.train.micro_batches;
  const std::int64_t slice =
      (std::max(micro, config.data.eval_batch) + options.ranks - 1) / options.ranks;
  const nn::Graph graph(
      model, info.sample, *backend,
      {.max_batch = slice,
       .gradient_type = core::parse_dtype(config.train.gradient_type),
       .allocate = false,
       .sharding = train::sharding_of(config, 0, static_cast<int>(options.ranks))});
  check_optimizer(config, graph, static_cast<int>(options.ranks));
  layer_table(graph, session.log);
  memory_table(graph, config, info, slice, session.log);
  traffic_table(graph, config, options, session.log);
  if (config.optimizer.kind != "sgd" && config.optimizer.kind != "adamw") {
    const auto timed = session.backends.create(config.run.backend, {}, silent);
    const std::int64_t per_rank = (config.data.batch + options.ranks - 1) / options.ranks;
    kfac_table(graph, config, static_cast<int>(options.ranks), per_rank, options.gigabytes, *timed,
               session.log);
  }
  schedule_table(config, info, options, session.log);
  if (!options.topology.empty()) {
    session.log.info("");
    allreduce_table(
        read_machine_file(options.topology), static_cast<int>(options.ranks),
        (graph.parameter_count() - static_cast<std::int64_t>(count_shards(graph, 0).all)) *
            static_cast<std::int64_t>(core::size_of(core::parse_dtype(config.train.gradient_type))),
        options.shown, session.log);
  }
  return core::ExitCode::ok;
}

}  // namespace

void add_plan(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* verb = add_verb(
      app, "plan", "What a run needs: shapes, memory, traffic, checkpoint size; runs nothing",
      "isaribi plan inputs/fashion_mnist/resnet14_sgd.toml --ranks 1024 data/batch=16384\n"
      "isaribi plan inputs/fashion_mnist/lenet_kfac.toml --ranks 16 kfac/placement=hybrid\n"
      "isaribi plan --ranks 2048 --topology jobscripts/machines/abci_v.toml --bytes 100M\n"
      "isaribi plan deck.toml --sample 224,224,3 --samples 1281167 --classes 1000");
  verb->add_option("deck", options->deck, "TOML file; none: only the allreduce of --topology");
  verb->add_option("overrides", options->overrides, "block/key=value, as many as needed");
  verb->add_option("--ranks", options->ranks, "Number of MPI ranks")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1000000}));
  verb->add_option("--sample", options->sample, "Shape of a sample when there is no file: H,W,C")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->expected(1, 3);
  verb->add_option("--samples", options->samples, "Number of training samples")
      ->check(CLI::PositiveNumber);
  verb->add_option("--bandwidth", options->gigabytes,
                   "GB/s that a rank sends, for predicted times (10)")
      ->check(CLI::PositiveNumber);
  verb->add_option("--topology", options->topology,
                   "Machine file: the predicted time of every hierarchy of --ranks on it");
  verb->add_option("--bytes", options->bytes,
                   "With --topology and no deck: bytes to sum (default: 100M)");
  verb->add_flag("--containment", options->containment,
                 "With --topology and no deck: also whether the fastest hierarchies, cut down to "
                 "half the ranks, are among the fastest there, half by half");
  verb->add_option("--show", options->shown, "With --topology: hierarchies to list (default: 20)")
      ->check(CLI::PositiveNumber);
  verb->add_option("--classes", options->classes, "Number of classes")->check(CLI::PositiveNumber);
  verb->callback([&chosen, options] {
    chosen = {.verb = "plan",
              .run = [options](Session& session) { return plan_verb(*options, session); }};
  });
}

}  // namespace isaribi::app

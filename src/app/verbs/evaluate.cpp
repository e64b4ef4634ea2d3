// SPDX-License-Identifier: MIT
// isaribi evaluate: loss and accuracy of trained weights on a data set.
#include <fmt/format.h>

#include <memory>

#include "app/job.hpp"
#include "app/verbs/verbs.hpp"
#include "comm/agreement.hpp"
#include "core/timer.hpp"
#include "train/trainer.hpp"

namespace isaribi::app {
namespace {

struct EvaluateOptions {
  std::string target, data;
  std::vector<std::string> overrides;
  std::string backend;
};

core::ExitCode evaluate_verb(const EvaluateOptions& options, Session& session) {
  const CheckpointNotes notes = read_notes(session, options.target);
  Deck deck;
  comm::run_together(session.comm, [&] {
    if (notes.deck.empty())
      throw core::DataError(notes.path, "holds no deck, so the network is not known",
                            "checkpoints of isaribi train hold one");
    deck.read(notes.deck, notes.path, Origin::Kind::checkpoint);
    for (const std::string& assignment : options.overrides) deck.override_with(assignment);
    if (!options.backend.empty()) deck.override_with("run/backend", options.backend, "--backend");
    if (!options.data.empty()) deck.override_with("data/test", options.data, "--data");
    deck.check();
  });
  dry_run(session, deck);
  const train::Config& config = deck.config();
  const ChosenBackend chosen = make_backend(session, config, notes.isa);
  core::PhaseTimers timers;
  const train::Context context{session.comm, *chosen.backend, session.log, timers};
  const double start = core::now_seconds();
  const train::Evaluation result = train::evaluate(config, context, notes.path, config.data.test);
  const double seconds = core::now_seconds() - start;
  if (result.accuracy >= 0) {
    session.log.info("{}: accuracy {:.2f} %, loss {:.5f}, {} samples of {}, {:.1f} s", notes.path,
                     100 * result.accuracy, result.loss, result.samples, config.data.test, seconds);
  } else {
    session.log.info("{}: loss {:.5f}, {} samples of {}, {:.1f} s", notes.path, result.loss,
                     result.samples, config.data.test, seconds);
  }
  return core::ExitCode::ok;
}

}  // namespace

void add_evaluate(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* verb =
      add_verb(app, "evaluate", "Loss and accuracy of a run or a checkpoint on its test set",
               "isaribi evaluate runs/fashion_mnist_small_cnn_sgd\n"
               "isaribi evaluate runs/mnist_lenet_sgd --data data/mnist/train.h5");
  verb->add_option("target", options->target, "Run folder (its newest checkpoint) or checkpoint")
      ->required();
  verb->add_option("overrides", options->overrides, "block/key=value, as many as needed");
  verb->add_option("--data", options->data, "Data set to evaluate on; default: data/test");
  verb->add_option("--backend", options->backend, "Short for run/backend=NAME");
  verb->callback([&chosen, options] {
    chosen = {.verb = "evaluate", .parallel = true, .run = [options](Session& session) {
                return evaluate_verb(*options, session);
              }};
  });
}

}  // namespace isaribi::app

// SPDX-License-Identifier: MIT
// isaribi train: from a deck to a trained network, or a good checkpoint on the way there.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "app/job.hpp"
#include "app/reduction.hpp"
#include "app/stop_requests.hpp"
#include "app/verbs/verbs.hpp"
#include "app/version.hpp"
#include "comm/agreement.hpp"
#include "comm/watchdog.hpp"
#include "core/timer.hpp"
#include "io/report/files.hpp"
#include "io/report/metrics.hpp"
#include "train/trainer.hpp"

namespace isaribi::app {
namespace fs = std::filesystem;
namespace {

struct TrainOptions {
  std::string deck;
  std::vector<std::string> overrides;
  bool resume = false;
  std::string walltime, deadline, backend, initial_weights;
};

/// Creates the run folder with the resolved deck in it, for this job alone; counts how often it was
/// started. @param host where the first rank runs
int open_run_folder(const std::string& dir, const std::string& deck, const std::string& host,
                    report::FileLock& lock) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) report::raise_errno(dir, "create the run folder", error.value());
  const std::string other = lock.take((fs::path(dir) / "lock").string(),
                                      fmt::format("process {} on {}", ::getpid(), host));
  if (!other.empty())
    throw core::DataError(dir, "another job trains in this run folder: " + other,
                          "wait until it has ended, or choose another run/dir");
  report::replace_text((fs::path(dir) / "deck.toml").string(), deck);
  const auto earlier = report::read_status(dir);
  return earlier ? earlier->attempts + 1 : 1;
}

/// What status.json says after a failure: where the run was, and why it ended.
void note_failure(const std::string& dir, int attempts, core::ExitCode code,
                  const std::string& cause) {
  report::Status status = report::read_status(dir).value_or(report::Status{});
  status.state = "failed";
  status.exit = static_cast<int>(code);
  status.attempts = attempts;
  status.error = cause;
  report::write_status(dir, status);
}

StopOptions stop_options(const TrainOptions& options, const Session& session,
                         const std::string& dir) {
  StopOptions stop;
  if (!options.walltime.empty())
    stop.walltime_seconds = parse_duration(options.walltime, "--walltime");
  if (!options.deadline.empty()) stop.deadline = parse_deadline(options.deadline, "--deadline");
  if (session.comm.is_root()) stop.stop_file = (fs::path(dir) / "STOP").string();
  return stop;
}

/// The deck as it will run, and what the checkpoint it goes on from says (empty: a new run).
Deck resolve(const TrainOptions& options, Session& session, CheckpointNotes& last) {
  Deck deck = read_deck(session, options.deck, options.overrides);
  std::vector<std::string> in_vain;
  comm::run_together(session.comm, [&] {
    if (!options.backend.empty()) deck.override_with("run/backend", options.backend, "--backend");
    deck.check();
  });
  const auto restart = find_restart(session, deck.config(), options.resume);
  if (restart) {
    comm::run_together(session.comm, [&] {
      in_vain = deck.go_on_from(restart->deck, restart->path);
      deck.check();
    });
    last = *restart;
  }
  for (const std::string& line : in_vain) session.log.warn("{}", line);
  return deck;
}

core::ExitCode train_verb(const TrainOptions& options, Session& session) {
  // 1. The deck, and what a checkpoint has to say about it.
  CheckpointNotes last;
  const Deck deck = resolve(options, session, last);
  const train::Config& config = deck.config();
  const std::string text = deck.toml();

  // 2. Everything that can be wrong is found before anything is made.
  StopRequests stop(stop_options(options, session, config.run.dir));
  const data::DatasetInfo data = dry_run(session, deck);
  comm::run_together(session.comm, [&] {
    if (!last.data_digest.empty() && last.data_digest != data.digest)
      throw core::DataError(config.data.train,
                            "data/train is not the data that this run was started with",
                            "set data/train back, or start a new run with another run/dir");
  });
  comm::check_agreement(
      session.comm,
      {{"program", build_id()}, {"deck", fingerprint(text)}, {"training data", data.digest}});
  const Surroundings surroundings = check_reduction(session, config);
  session.log.info("resolved deck ({}):", options.deck);
  for (const std::string& line : deck.table()) session.log.info("{}", line);

  // 3. The backend, then the run folder: from here on there is something to lose.
  const ChosenBackend chosen = make_backend(session, config, last.isa);
  int attempts = 1;
  report::FileLock lock;
  comm::run_on_root(session.comm, [&] {
    attempts = open_run_folder(config.run.dir, text, session.comm.host(), lock);
  });
  session.on_failure = [dir = config.run.dir, attempts](core::ExitCode code,
                                                        const std::string& cause) {
    note_failure(dir, attempts, code, cause);
  };

  // 4. Training.
  core::PhaseTimers timers;
  comm::WatchdogOptions limits;
  limits.hang_seconds = config.run.watchdog_seconds;
  comm::Watchdog watchdog(session.comm, timers, limits);
  const train::Context context{session.comm, *chosen.backend, session.log, timers};
  const auto reduction = make_reduction(session, config, surroundings);
  const train::RunInputs inputs{
      .deck = text,
      .isa = chosen.isa,
      .resume = options.resume,
      .initial_weights = options.initial_weights,
      .reduction = reduction.get(),
      .attempts = attempts,
      .stop_reason = [&stop] { return stop.reason(); },
      .on_step = [&watchdog](std::int64_t step) { watchdog.set_step(step); },
      .checkpoint_took = [&stop](double seconds) { stop.checkpoint_took(seconds); }};
  return train::run(config, context, inputs).code;
}

}  // namespace

void add_train(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* verb =
      add_verb(app, "train", "Trains a network as a deck says; goes on from its checkpoints",
               "mpirun -np 2 isaribi train inputs/fashion_mnist/small_cnn_sgd.toml\n"
               "isaribi train inputs/mnist/lenet_sgd.toml optimizer/lr=0.05 run/dir=runs/try1\n"
               "srun isaribi train deck.toml --walltime $SECONDS_LEFT --resume");
  verb->add_option("deck", options->deck, "TOML file; isaribi help deck explains its keys")
      ->required();
  verb->add_option("overrides", options->overrides, "block/key=value, as many as needed");
  verb->add_flag("-r,--resume", options->resume,
                 "Go on from the newest good checkpoint of run/dir; an error when there is none");
  verb->add_option("--walltime", options->walltime,
                   "Stop in time, with a checkpoint: 90m, 3600, HH:MM:SS, D-HH:MM:SS");
  verb->add_option("--deadline", options->deadline,
                   "The same as a moment: 2026-03-31T09:30, with Z or +09:00 or in local time");
  verb->add_option("--backend", options->backend, "Short for run/backend=NAME");
  verb->add_option("--weights", options->initial_weights,
                   "Start from the weights (only) of this checkpoint");
  verb->callback([&chosen, options] {
    chosen = {.verb = "train", .parallel = true, .run = [options](Session& session) {
                return train_verb(*options, session);
              }};
  });
}

}  // namespace isaribi::app

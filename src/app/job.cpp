// SPDX-License-Identifier: MIT
#include "app/job.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "comm/agreement.hpp"
#include "io/checkpoint/checkpoint.hpp"
#include "io/checkpoint/folder.hpp"
#include "io/checkpoint/format.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"
#include "train/objective.hpp"

namespace isaribi::app {
namespace fs = std::filesystem;
namespace {

std::string read_file(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error))
    throw core::UsageError(path + " is a folder, not a deck",
                           "name the deck: a TOML file, such as those in inputs/");
  std::ifstream in(path, std::ios::binary);
  if (!in)
    throw core::UsageError("deck " + path + " cannot be opened: " + std::strerror(errno),
                           "check the path; decks to start from are in inputs/");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string text_of(const std::map<std::string, checkpoint::Value>& values,
                    const std::string& name) {
  const auto found = values.find(name);
  const bool text = found != values.end() && std::holds_alternative<std::string>(found->second);
  return text ? std::get<std::string>(found->second) : "";
}

CheckpointNotes notes_of(const std::string& path) {
  const checkpoint::State state = checkpoint::read_file(path);
  return {path, text_of(state.notes, "deck"), text_of(state.values, "data/digest"),
          text_of(state.notes, "isa")};
}

/// The newest of `folder` that can be read; the reason of the newest when none can.
std::optional<CheckpointNotes> newest(const std::string& folder) {
  std::optional<core::DataError> first;
  for (const std::string& path : checkpoint::list(folder)) {
    try {
      return notes_of(path);
    } catch (const core::DataError& error) {
      if (!first) first = error;
    }
  }
  if (first) throw *first;
  return std::nullopt;
}

std::string checkpoint_folder(const std::string& run_dir) {
  return (fs::path(run_dir) / "checkpoints").string();
}

/// Rank 0 finds, all ranks know.
std::optional<CheckpointNotes> share(Session& session,
                                     const std::function<std::optional<CheckpointNotes>()>& find) {
  std::optional<CheckpointNotes> found;
  comm::run_on_root(session.comm, [&] { found = find(); });
  CheckpointNotes notes;
  if (found) notes = *found;
  notes.path = session.comm.broadcast_string(notes.path);
  notes.deck = session.comm.broadcast_string(notes.deck);
  notes.data_digest = session.comm.broadcast_string(notes.data_digest);
  notes.isa = session.comm.broadcast_string(notes.isa);
  if (notes.path.empty()) return std::nullopt;
  return notes;
}

void compare_sets(const data::DatasetInfo& train, const data::DatasetInfo& test) {
  const auto differ = [&](const std::string& what, const std::string& a, const std::string& b) {
    throw core::UsageError(
        fmt::format("data/test: {} of {} is {}, but {} has {}", what, test.path, a, train.path, b),
        "both sets must come from the same source");
  };
  if (train.sample != test.sample)
    differ("the shape of a sample", test.sample.text(), train.sample.text());
  if (train.classes != test.classes)
    differ("the number of classes", std::to_string(test.classes), std::to_string(train.classes));
}

void dry_run_on_root(Session& session, const Deck& deck, data::DatasetInfo& train_info) {
  const train::Config& c = deck.config();
  train_info = data::read_info(c.data.train);
  const data::DatasetInfo test_info = data::read_info(c.data.test);
  compare_sets(train_info, test_info);
  if (c.data.drop_last && c.data.batch > train_info.samples)
    throw core::UsageError(fmt::format("data/batch = {} is larger than the {} samples of {}",
                                       c.data.batch, train_info.samples, c.data.train),
                           "lower data/batch, or set data/drop_last = false");
  core::Log silent(1);
  const auto backend = session.backends.create("reference", {}, silent);
  nn::ModelSpec model = c.model;
  if (model.outputs == 0)
    model.outputs = train_info.classes > 0 ? train_info.classes : train_info.sample.count();
  const nn::Graph graph(model, train_info.sample, *backend, {.allocate = false});
  const train::Objective objective(c.train, c.data, graph.output_sample_shape(), train_info.sample,
                                   train_info.classes, core::DType::f32, 1, *backend);
  check_optimizer(c, graph, session.comm.size());
  const optim::WeightAverage average(c.average, {}, *backend);
  const optim::Schedule schedule(c.schedule, c.optimizer.lr, c.train.epochs);
}

/// The first of (`last`, the levels of rank 0 in its order) that every rank has among `mine`.
/// Collective.
std::string common_isa(comm::Communicator& comm, const std::vector<std::string>& mine,
                       const std::string& last) {
  const std::string first = fmt::format("{}", fmt::join(mine, " "));
  const std::vector<std::string> all = comm.all_gather_strings(first);
  const auto everywhere = [&](const std::string& isa) {
    return !isa.empty() && std::all_of(all.begin(), all.end(), [&](const std::string& levels) {
      return (" " + levels + " ").find(" " + isa + " ") != std::string::npos;
    });
  };
  std::istringstream order(last + " " + all.front());
  for (std::string isa; order >> isa;) {
    if (everywhere(isa)) return isa;
  }
  const bool no_choice =
      std::all_of(all.begin(), all.end(), [](const std::string& s) { return s.empty(); });
  if (no_choice) return "";
  std::string table;
  for (std::size_t rank = 0; rank < all.size(); ++rank)
    table += fmt::format("\n  rank {}: {}", rank, all[rank]);
  throw comm::CollectiveError(core::ExitCode::usage,
                              "the ranks have no instruction set in common:" + table,
                              "set ISARIBI_ISA alike on all ranks, or use --backend=kokkos");
}

}  // namespace

void check_optimizer(const train::Config& config, const nn::Graph& graph, int ranks) {
  const std::vector<nn::CurvedLayer> layers = graph.curved_layers();
  optim::check_optimizer(config.optimizer, config.kfac,
                         {.parameters = graph.parameters(),
                          .layers = layers,
                          .outputs = graph.output_sample_shape().count()},
                         ranks);
}

Deck read_deck(Session& session, const std::string& path,
               const std::vector<std::string>& overrides) {
  std::string text;
  comm::run_on_root(session.comm, [&] { text = read_file(path); });
  text = session.comm.broadcast_string(text);
  Deck deck;
  comm::run_together(session.comm, [&] {
    deck.read(text, path);
    for (const std::string& assignment : overrides) deck.override_with(assignment);
  });
  return deck;
}

CheckpointNotes read_notes(Session& session, const std::string& path) {
  auto found = share(session, [&]() -> std::optional<CheckpointNotes> {
    std::error_code error;
    if (!fs::is_directory(path, error)) return notes_of(path);
    for (const std::string& folder : {checkpoint_folder(path), path}) {
      if (auto newest_one = newest(folder)) return newest_one;
    }
    throw core::DataError(path, "holds no checkpoint",
                          "name a run folder, or a file of its checkpoints/");
  });
  return *found;
}

std::optional<CheckpointNotes> find_restart(Session& session, const train::Config& config,
                                            bool resume) {
  const std::string& restart = config.checkpoint.restart;
  return share(session, [&]() -> std::optional<CheckpointNotes> {
    const std::string folder = checkpoint_folder(config.run.dir);
    if (restart != "auto" && restart != "never") return notes_of(restart);
    if (restart == "never" && !resume) {
      if (checkpoint::list(folder).empty()) return std::nullopt;
      throw core::UsageError(
          fmt::format("{} holds checkpoints, and checkpoint/restart = \"never\"", folder),
          "choose another run/dir, say --resume, or delete the folder");
    }
    auto found = newest(folder);
    if (resume && !found)
      throw core::DataError(folder, "--resume was asked for, but there is no checkpoint",
                            "check run/dir, or leave --resume out to start from the beginning");
    return found;
  });
}

data::DatasetInfo dry_run(Session& session, const Deck& deck) {
  data::DatasetInfo train_info;
  comm::run_on_root(session.comm, [&] {
    try {
      dry_run_on_root(session, deck, train_info);
    } catch (const core::UsageError& error) {
      throw deck.placed(error);
    }
  });
  train_info.digest = session.comm.broadcast_string(train_info.digest);
  return train_info;
}

int threads_of_rank(const train::Config& config, comm::Communicator& node) {
  cpu_set_t mine;
  CPU_ZERO(&mine);
  const bool known = ::sched_getaffinity(0, sizeof(mine), &mine) == 0;
  // How many ranks of the node may run on each CPU: shared CPUs are shared out.
  std::vector<std::int64_t> users(CPU_SETSIZE, 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    users[static_cast<std::size_t>(cpu)] = known && CPU_ISSET(cpu, &mine) ? 1 : 0;
  const std::vector<std::int64_t> own = users;
  node.all_reduce(users, comm::ReduceOp::sum);
  double share = 0;
  for (std::size_t cpu = 0; cpu < own.size(); ++cpu) {
    if (own[cpu] != 0) share += 1.0 / static_cast<double>(users[cpu]);
  }
  if (config.run.threads > 0) return config.run.threads;
  const char* asked = std::getenv("OMP_NUM_THREADS");
  const int from_environment = asked == nullptr ? 0 : std::atoi(asked);
  if (from_environment > 0) return from_environment;
  return std::max(1, static_cast<int>(std::floor(share + 1e-6)));
}

ChosenBackend make_backend(Session& session, const train::Config& config,
                           const std::string& last_isa) {
  const auto node = session.comm.split_node();
  api::Options options{
      .threads = threads_of_rank(config, *node), .isa = config.run.isa, .device = node->rank()};
  api::Registry::Choice mine;
  comm::run_together(session.comm,
                     [&] { mine = session.backends.choices(config.run.backend, options); });
  comm::check_agreement(session.comm, {{"backend", mine.name}});
  options.isa = common_isa(session.comm, mine.isa_levels, last_isa);
  if (!last_isa.empty() && options.isa != last_isa)
    session.log.warn(
        "the checkpoint was computed with {}, this run goes on with {}: equal to rounding, not bit "
        "for bit",
        last_isa, options.isa.empty() ? mine.name : options.isa);
  ChosenBackend chosen{nullptr, options.isa};
  comm::run_together(session.comm, [&] {
    chosen.backend = session.backends.create(config.run.backend, options, session.log);
  });
  return chosen;
}

std::string fingerprint(const std::string& text) {
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

}  // namespace isaribi::app

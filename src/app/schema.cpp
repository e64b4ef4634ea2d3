// SPDX-License-Identifier: MIT
#include "app/schema.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "app/schema_table.hpp"
#include "comm/allreduce/plan_choice.hpp"
#include "comm/reduction_plan.hpp"
#include "nn/graph.hpp"

namespace isaribi::app {
namespace {

using train::Config;

const Limits any = {};
const Limits required = {.required = true};

std::vector<std::string> presets_or_none() {
  std::vector<std::string> names = nn::preset_names();
  names.insert(names.begin(), "");
  return names;
}

using enum Restart;

void add_run(std::vector<Key>& t) {
  t.push_back({"version", [](Config& c) -> Slot { return &c.version; }, "format of this deck",
               from_to(1, kDeckVersion), job});
  t.push_back({"run/dir", [](Config& c) -> Slot { return &c.run.dir; },
               "folder for deck.toml, metrics.jsonl, status.json, checkpoints/, report/", required,
               job});
  t.push_back({"run/seed", [](Config& c) -> Slot { return &c.run.seed; },
               "of weights, sample order, augmentation, dropout", from_to(0, 9007199254740992.0),
               fixed});
  t.push_back({"run/backend", [](Config& c) -> Slot { return &c.run.backend; },
               "auto, reference, kokkos, simd or cuda (isaribi --version says which can run here)",
               required, job});
  t.push_back({"run/threads", [](Config& c) -> Slot { return &c.run.threads; },
               "OpenMP threads per rank; 0: OMP_NUM_THREADS, else the cores this rank is bound to",
               from_to(0, 4096), job});
  t.push_back({"run/isa", [](Config& c) -> Slot { return &c.run.isa; },
               "instruction set of the simd backend (avx2, avx512); empty: that of the checkpoint, "
               "else the fastest measured of those that all ranks have",
               any, job});
  t.push_back({"run/watchdog_seconds", [](Config& c) -> Slot { return &c.run.watchdog_seconds; },
               "no sign of life for this long ends the job with exit 5; 0: only deaths are noticed",
               at_least(0), job});
}

void add_data(std::vector<Key>& t) {
  t.push_back({"data/train", [](Config& c) -> Slot { return &c.data.train; },
               "training set, HDF5 made by isaribi convert", required, job});
  t.push_back({"data/test", [](Config& c) -> Slot { return &c.data.test; },
               "test set, HDF5 made by isaribi convert", required, job});
  t.push_back({"data/batch", [](Config& c) -> Slot { return &c.data.batch; },
               "samples per step over all ranks; need not be divisible by their number",
               from_to(1, 1e9), fixed});
  t.push_back({"data/eval_batch", [](Config& c) -> Slot { return &c.data.eval_batch; },
               "samples per pass of an evaluation, over all ranks", from_to(1, 1e9), job});
  t.push_back({"data/shuffle", [](Config& c) -> Slot { return &c.data.shuffle; },
               "another order of samples in every epoch", any, fixed});
  t.push_back({"data/drop_last", [](Config& c) -> Slot { return &c.data.drop_last; },
               "drop the samples of an epoch that do not fill a batch", any, fixed});
  t.push_back({"data/targets", [](Config& c) -> Slot { return &c.data.targets; },
               "label: the classes; self: the sample itself (autoencoder)",
               one_of({"label", "self"}), fixed});
  t.push_back({"data/normalize", [](Config& c) -> Slot { return &c.data.normalize; },
               "standard: (x - mean) / std of the training set; unit: x / 255",
               one_of({"standard", "unit"}), fixed});
  t.push_back(
      {"data/preload_mb", [](Config& c) -> Slot { return &c.data.preload_mb; },
       "sets up to this many MiB are held once per node in shared memory, larger ones stream",
       at_least(0), job});
  t.push_back({"data/chunk", [](Config& c) -> Slot { return &c.data.chunk; },
               "samples per shuffled chunk of a set that streams", from_to(1, 1e9), fixed});
  t.push_back({"data/prefetch", [](Config& c) -> Slot { return &c.data.prefetch; },
               "batches prepared ahead", from_to(1, 1024), job});
  t.push_back({"data/augment/flip", [](Config& c) -> Slot { return &c.data.augment.flip; },
               "mirror left-right with probability 1/2"});
  t.push_back({"data/augment/crop", [](Config& c) -> Slot { return &c.data.augment.crop; },
               "shift by up to this many pixels each way", from_to(0, 4096)});
  t.push_back({"data/augment/erase", [](Config& c) -> Slot { return &c.data.augment.erase; },
               "probability of erasing a random rectangle", from_to(0, 1)});
  t.push_back({"data/augment/erase_area_min",
               [](Config& c) -> Slot { return &c.data.augment.erase_area_min; },
               "smallest part of the image that is erased", from_to(0, 1)});
  t.push_back({"data/augment/erase_area_max",
               [](Config& c) -> Slot { return &c.data.augment.erase_area_max; },
               "largest part of the image that is erased", from_to(0, 1)});
  t.push_back({"data/augment/erase_aspect_min",
               [](Config& c) -> Slot { return &c.data.augment.erase_aspect_min; },
               "most elongated rectangle: height / width, up to its inverse",
               {.low = 0, .high = 1, .above_low = true}});
}

void add_model(std::vector<Key>& t) {
  t.push_back({"model/preset", [](Config& c) -> Slot { return &c.model.preset; },
               "a ready-made network; or write [[layer]]s", one_of(presets_or_none()), fixed});
  t.push_back({"model/outputs", [](Config& c) -> Slot { return &c.model.outputs; },
               "classes, or features of a regression; 0: as the training set has classes",
               from_to(0, 1e9), fixed});
  t.push_back({"model/batch_norm_sync", [](Config& c) -> Slot { return &c.model.batch_norm_sync; },
               "batch statistics over the global batch: the result does not depend on the ranks"});
  t.push_back({"model/batch_norm_momentum",
               [](Config& c) -> Slot { return &c.model.batch_norm_momentum; },
               "m of running = (1 - m) running + m batch", from_to(0, 1)});
  t.push_back({"model/batch_norm_epsilon",
               [](Config& c) -> Slot { return &c.model.batch_norm_epsilon; },
               "added to the variance", above(0)});
}

void add_optimizer(std::vector<Key>& t) {
  t.push_back({"optimizer/kind", [](Config& c) -> Slot { return &c.optimizer.kind; },
               "the update rule", one_of({"sgd", "adamw", "kfac", "ekfac", "foof"}), fixed});
  t.push_back({"optimizer/lr", [](Config& c) -> Slot { return &c.optimizer.lr; },
               "peak learning rate; the schedule scales it", above(0)});
  t.push_back({"optimizer/momentum",
               [](Config& c) -> Slot { return &c.optimizer.momentum; },
               "of sgd, and of the directions of kfac, ekfac and foof",
               {.low = 0, .high = 1}});
  t.push_back({"optimizer/momentum_follows_lr",
               [](Config& c) -> Slot { return &c.optimizer.momentum_follows_lr; },
               "kfac, ekfac, foof: momentum times the learning rate's share of its peak"});
  t.push_back({"optimizer/nesterov", [](Config& c) -> Slot { return &c.optimizer.nesterov; },
               "Nesterov's form of the momentum"});
  t.push_back({"optimizer/weight_decay",
               [](Config& c) -> Slot { return &c.optimizer.weight_decay; },
               "pull of the weights towards 0", at_least(0)});
  t.push_back({"optimizer/decoupled", [](Config& c) -> Slot { return &c.optimizer.decoupled; },
               "decay beside the gradient step, not in it; always so for adamw"});
  t.push_back({"optimizer/decay_bias_and_norm",
               [](Config& c) -> Slot { return &c.optimizer.decay_bias_and_norm; },
               "weight decay also on biases and batch norm"});
  t.push_back({"optimizer/beta1", [](Config& c) -> Slot { return &c.optimizer.beta1; }, "of adamw",
               from_to(0, 1)});
  t.push_back({"optimizer/beta2", [](Config& c) -> Slot { return &c.optimizer.beta2; }, "of adamw",
               from_to(0, 1)});
  t.push_back({"optimizer/epsilon", [](Config& c) -> Slot { return &c.optimizer.epsilon; },
               "of adamw", above(0)});
  t.push_back({"optimizer/clip_norm", [](Config& c) -> Slot { return &c.optimizer.clip_norm; },
               "bound of the norm of all gradients; 0: none", at_least(0)});
}

void add_schedule(std::vector<Key>& t) {
  t.push_back({"schedule/kind", [](Config& c) -> Slot { return &c.schedule.kind; },
               "how the learning rate falls",
               one_of({"constant", "step", "cosine", "polynomial"})});
  t.push_back({"schedule/warmup_epochs",
               [](Config& c) -> Slot { return &c.schedule.warmup_epochs; },
               "linear rise over this many epochs", at_least(0)});
  t.push_back({"schedule/warmup_start", [](Config& c) -> Slot { return &c.schedule.warmup_start; },
               "where the rise starts, as a fraction of lr", from_to(0, 1)});
  t.push_back({"schedule/milestones", [](Config& c) -> Slot { return &c.schedule.milestones; },
               "step: epochs at which lr is multiplied by gamma", at_least(0)});
  t.push_back({"schedule/gamma", [](Config& c) -> Slot { return &c.schedule.gamma; },
               "step: the factor", above(0)});
  t.push_back({"schedule/final_fraction",
               [](Config& c) -> Slot { return &c.schedule.final_fraction; },
               "cosine, polynomial: lr at the end as a fraction of the peak", from_to(0, 1)});
  t.push_back({"schedule/power", [](Config& c) -> Slot { return &c.schedule.power; },
               "polynomial: the exponent", above(0)});
  t.push_back({"schedule/start_epoch", [](Config& c) -> Slot { return &c.schedule.start_epoch; },
               "where the decay starts; 0: after the warm-up", at_least(0)});
  t.push_back({"schedule/end_epoch", [](Config& c) -> Slot { return &c.schedule.end_epoch; },
               "where it ends; 0: with the training", at_least(0)});
  t.push_back({"average/kind", [](Config& c) -> Slot { return &c.average.kind; },
               "averaged weights for evaluation", one_of({"none", "ema", "swa"}), fixed});
  t.push_back({"average/decay", [](Config& c) -> Slot { return &c.average.decay; },
               "of ema, per step", from_to(0, 1)});
  t.push_back({"average/start_epoch", [](Config& c) -> Slot { return &c.average.start_epoch; },
               "first epoch that counts", at_least(0)});
}

std::vector<std::string> allreduce_keys() {
  std::vector<std::string> keys = comm::allreduce_plan_names();
  keys.insert(keys.end(), {"auto", "deterministic"});
  return keys;
}

bool is_plan(const std::string& text) {
  try {
    return !comm::parse_plan(text).library();
  } catch (const core::UsageError&) {
    return false;
  }
}

void add_train(std::vector<Key>& t) {
  t.push_back({"train/epochs", [](Config& c) -> Slot { return &c.train.epochs; },
               "length of the training; schedules end with it", above(0)});
  t.push_back({"train/steps", [](Config& c) -> Slot { return &c.train.steps; },
               "end after this many steps instead; 0: as epochs says", at_least(0), job});
  t.push_back({"train/log_every", [](Config& c) -> Slot { return &c.train.log_every; },
               "steps per line of output and of metrics.jsonl", at_least(1), job});
  t.push_back({"train/eval_every", [](Config& c) -> Slot { return &c.train.eval_every; },
               "steps between evaluations; 0: after every epoch", at_least(0), job});
  t.push_back({"train/micro_batches", [](Config& c) -> Slot { return &c.train.micro_batches; },
               "parts of each global batch whose gradients are accumulated", from_to(1, 1e6),
               fixed});
  t.push_back({"train/loss", [](Config& c) -> Slot { return &c.train.loss; }, "what is minimised",
               one_of({"softmax_cross_entropy", "mean_squared_error", "bernoulli_cross_entropy"})});
  t.push_back({"train/label_smoothing",
               [](Config& c) -> Slot { return &c.train.label_smoothing; },
               "share of the target spread over all classes",
               {.low = 0, .high = 1}});
  t.push_back(
      {"train/gradient_type", [](Config& c) -> Slot { return &c.train.gradient_type; },
       "f64: the number of ranks does not change the trajectory; f32: half the bytes on the wire",
       one_of({"f64", "f32"})});
  t.push_back({"checkpoint/every", [](Config& c) -> Slot { return &c.checkpoint.every; },
               "steps between checkpoints; 0: at the end of every epoch", at_least(0), job});
  t.push_back({"checkpoint/keep", [](Config& c) -> Slot { return &c.checkpoint.keep; },
               "how many checkpoints stay", from_to(1, 1e6), job});
  t.push_back({"checkpoint/restart", [](Config& c) -> Slot { return &c.checkpoint.restart; },
               "auto: go on when run/dir holds a checkpoint; never; or the path of a checkpoint",
               required, job});
  t.push_back(
      {"comm/allreduce",
       [](Config& c) -> Slot { return &c.comm.allreduce; },
       "how gradients are summed over ranks: mpi (the library); auto (the fastest for these "
       "nodes, measured); deterministic (the fastest that adds in one order, however "
       "gradients are cut); rank_order (as one rank after the other, in every placement); "
       "or a plan such as direct4-ring8/1M (isaribi allreduce)",
       {.choices = allreduce_keys(),
        .also = is_plan,
        .also_expected = ", or a plan such as direct4-ring8/1M"},
       job});
  t.push_back({"comm/wire", [](Config& c) -> Slot { return &c.comm.wire; },
               "type of gradients on their way between nodes (sums stay in train/gradient_type)",
               one_of({"same", "f32", "bf16", "f16"})});
  t.push_back({"comm/error_feedback", [](Config& c) -> Slot { return &c.comm.error_feedback; },
               "keep what comm/wire rounds off and add it to the gradient of the next step"});
  t.push_back(
      {"comm/topology",
       [](Config& c) -> Slot { return &c.comm.topology; },
       "machine file that says which hosts share a rack (isaribi allreduce --help); measure: find "
       "out by pairs of nodes that talk at once; empty: ISARIBI_TOPOLOGY, else as Slurm tells",
       {},
       job});
  t.push_back(
      {"comm/tuning",
       [](Config& c) -> Slot { return &c.comm.tuning; },
       "auto, deterministic: tuning file of isaribi allreduce for a run folder that has none yet",
       {},
       job});
  t.push_back({"comm/shards", [](Config& c) -> Slot { return &c.comm.shards; },
               "large linear layers, with sgd and adamw: auto: each rank sums and updates rows of "
               "its own from the samples of all, where that moves fewer bytes than summing their "
               "gradients; the ranks of a node keep one copy of them, in memory that they share; "
               "private: each rank keeps a copy; off",
               one_of({"auto", "private", "off"}), job});
  t.push_back({"comm/progress", [](Config& c) -> Slot { return &c.comm.progress; },
               "who moves sums on while backward runs: a thread beside the main one; calls of the "
               "main thread between layers; auto: a thread where MPI allows one",
               one_of({"auto", "thread", "calls"}), job});
  t.push_back({"comm/bucket_kb", [](Config& c) -> Slot { return &c.comm.bucket_kb; },
               "KiB of gradients sent together while backward goes on; 0: as fits the model",
               from_to(0, 1e7), job});
}

std::vector<Key> make_schema() {
  std::vector<Key> table;
  add_run(table);
  add_data(table);
  add_model(table);
  add_optimizer(table);
  add_second_order(table);
  add_schedule(table);
  add_train(table);
  return table;
}

std::string range_text(const Limits& limits) {
  const bool low = std::isfinite(limits.low), high = std::isfinite(limits.high);
  if (low && high)
    return limits.above_low ? fmt::format(" above {} and up to {:.10g}", limits.low, limits.high)
                            : fmt::format(" from {} to {:.10g}", limits.low, limits.high);
  if (low)
    return limits.above_low ? fmt::format(" above {}", limits.low)
                            : fmt::format(" of at least {}", limits.low);
  return high ? fmt::format(" up to {:.10g}", limits.high) : "";
}

bool within(const Limits& limits, double x) {
  return std::isfinite(x) && x >= limits.low && x <= limits.high &&
         !(limits.above_low && x == limits.low);
}

}  // namespace

const std::vector<Key>& schema() {
  static const std::vector<Key> table = make_schema();
  return table;
}

const Key* find_key(std::string_view path) {
  for (const Key& key : schema()) {
    if (key.path == path) return &key;
  }
  return nullptr;
}

const std::vector<std::string>& blocks() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> found;
    for (const Key& key : schema()) {
      const std::string block = block_of(key.path);
      if (std::find(found.begin(), found.end(), block) == found.end()) found.push_back(block);
    }
    return found;
  }();
  return names;
}

std::string block_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? "" : std::string(path.substr(0, slash));
}

std::string name_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

Value value_of(const Key& key, const Config& config) {
  Config copy = config;
  return std::visit(
      [](auto* slot) -> Value {
        using T = std::remove_pointer_t<decltype(slot)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          return static_cast<std::int64_t>(*slot);
        } else {
          return *slot;
        }
      },
      key.slot(copy));
}

void assign(const Key& key, Config& config, const Value& value) {
  std::visit(
      [&](auto* slot) {
        using T = std::remove_pointer_t<decltype(slot)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          *slot = static_cast<T>(std::get<std::int64_t>(value));
        } else {
          *slot = std::get<T>(value);
        }
      },
      key.slot(config));
}

std::string expectation(const Key& key) {
  const Value example = value_of(key, Config{});
  if (!key.limits.choices.empty()) {
    std::vector<std::string> shown;
    for (const std::string& choice : key.limits.choices) {
      if (!choice.empty()) shown.push_back(choice);
    }
    return fmt::format("one of {}{}", fmt::join(shown, ", "), key.limits.also_expected);
  }
  const std::string range = range_text(key.limits);
  switch (example.index()) {
    case 0:
      return "true or false";
    case 1:
      return "a whole number" + range;
    case 2:
      return "a number" + range;
    case 3:
      return key.limits.required ? "a text" : "a text, or nothing";
    default:
      return "a list of numbers" + range;
  }
}

std::string complaint(const Key& key, const Value& value) {
  const Limits& limits = key.limits;
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (limits.required && text->empty()) return "is empty";
    const bool known =
        limits.choices.empty() ||
        std::find(limits.choices.begin(), limits.choices.end(), *text) != limits.choices.end() ||
        (limits.also != nullptr && limits.also(*text));
    return known ? "" : "is not known";
  }
  if (const auto* whole = std::get_if<std::int64_t>(&value))
    return within(limits, static_cast<double>(*whole)) ? "" : "is out of range";
  if (const auto* number = std::get_if<double>(&value))
    return within(limits, *number) ? "" : "is out of range";
  if (const auto* list = std::get_if<std::vector<double>>(&value)) {
    const bool good =
        std::all_of(list->begin(), list->end(), [&](double x) { return within(limits, x); });
    return good ? "" : "has an element out of range";
  }
  return "";
}

std::string toml_text(const Value& value) {
  struct Visitor {
    std::string operator()(bool x) const { return x ? "true" : "false"; }
    std::string operator()(std::int64_t x) const { return fmt::format("{}", x); }
    std::string operator()(double x) const { return fmt::format("{}", x); }
    std::string operator()(const std::vector<double>& x) const {
      return fmt::format("[{}]", fmt::join(x, ", "));
    }
    std::string operator()(const std::string& x) const {
      std::string out = "\"";
      for (const char c : x) {
        if (c == '"' || c == '\\') {
          out += '\\';
          out += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        } else {
          out += c;
        }
      }
      return out + "\"";
    }
  };
  return std::visit(Visitor{}, value);
}

}  // namespace isaribi::app

// SPDX-License-Identifier: MIT
#include "app/deck.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "comm/reduction_plan.hpp"
#include "nn/options.hpp"

namespace isaribi::app {
namespace {

std::string file_name(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

/// The whole place, for messages.
std::string where(const Origin& origin) {
  return origin.kind == Origin::Kind::deck ? origin.place : origin.text();
}

bool same_layer(const nn::LayerSpec& a, const nn::LayerSpec& b) {
  return a.name == b.name && a.kind == b.kind && a.inputs == b.inputs && a.numbers == b.numbers &&
         a.texts == b.texts;
}

bool same_layers(const std::vector<nn::LayerSpec>& a, const std::vector<nn::LayerSpec>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_layer);
}

std::string without_quotes(const std::string& text) {
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
                      text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

template <typename T>
bool parse_whole(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

bool parse_list(std::string text, std::vector<double>& out) {
  text = trimmed(text);
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']')
    text = trimmed(text.substr(1, text.size() - 2));
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    double x = 0;
    if (!parse_whole(trimmed(text.substr(begin, comma - begin)), x)) return false;
    out.push_back(x);
    begin = comma + 1;
  }
  return true;
}

}  // namespace

std::string Origin::text() const {
  switch (kind) {
    case Kind::standard:
      return "default";
    case Kind::deck:
      return file_name(place);
    case Kind::checkpoint:
      return fmt::format("checkpoint {}", file_name(place));
    default:
      return "command line";
  }
}

Value parse_value(const Key& key, const std::string& text, const std::string& where) {
  const Value example = value_of(key, train::Config{});
  bool good = true;
  Value value = example;
  if (std::holds_alternative<std::string>(example)) {
    value = without_quotes(text);
  } else if (std::holds_alternative<bool>(example)) {
    const bool yes = text == "true" || text == "1" || text == "yes" || text == "on";
    good = yes || text == "false" || text == "0" || text == "no" || text == "off";
    value = yes;
  } else if (std::holds_alternative<std::int64_t>(example)) {
    std::int64_t x = 0;
    good = parse_whole(text, x);
    value = x;
  } else if (std::holds_alternative<double>(example)) {
    double x = 0;
    good = parse_whole(text, x);
    value = x;
  } else {
    std::vector<double> x;
    good = parse_list(text, x);
    value = x;
  }
  if (!good) {
    throw core::UsageError(fmt::format("{}: {} = {} is of the wrong type", where, key.path, text),
                           fmt::format("{} takes {}: {}", key.path, expectation(key), key.help));
  }
  return value;
}

core::UsageError unknown_key(const std::string& where, const std::string& path) {
  const std::string name = name_of(path), block = block_of(path);
  std::vector<std::string> same_name, in_block, all;
  for (const Key& key : schema()) {
    all.push_back(key.path);
    if (block_of(key.path) == block) in_block.push_back(key.path);
    if (name_of(key.path) == name) same_name.push_back(key.path);
  }
  const bool known_block = !in_block.empty();
  std::string near = known_block ? nn::nearest_name(path, in_block) : "";
  // Within a known block the name must be similar: the block's part of the path says nothing.
  if (known_block) {
    std::vector<std::string> names;
    for (const std::string& p : in_block) names.push_back(name_of(p));
    const std::string nearest = nn::nearest_name(name, names);
    near = nearest.empty() ? "" : (block.empty() ? nearest : block + "/" + nearest);
  }
  if (near.empty()) near = nn::nearest_name(path, same_name.empty() ? all : same_name);
  if (near.empty() && !same_name.empty()) near = same_name.front();
  std::string hint = near.empty() ? "" : fmt::format("did you mean {}? ", near);
  return core::UsageError(
      fmt::format("{}: unknown {} '{}'", where, known_block ? "key" : "block or key", path),
      hint + "isaribi help deck lists all keys");
}

void Deck::set(const Key& key, const Value& value, const Origin& origin, const std::string& where) {
  const std::string wrong = complaint(key, value);
  if (!wrong.empty()) {
    std::string hint = fmt::format("{} takes {}", key.path, expectation(key));
    if (const auto* text = std::get_if<std::string>(&value);
        text != nullptr && !key.limits.choices.empty()) {
      const std::string near = nn::nearest_name(*text, key.limits.choices);
      if (!near.empty()) hint = fmt::format("did you mean \"{}\"? {}", near, hint);
    }
    throw core::UsageError(fmt::format("{}: {} = {} {}", where, key.path, toml_text(value), wrong),
                           hint);
  }
  assign(key, config_, value);
  origins_[key.path] = origin;
}

void Deck::read(const std::string& text, const std::string& file, Origin::Kind kind) {
  Document document = parse_toml(text, file);
  const bool checkpoint = kind == Origin::Kind::checkpoint;
  for (const Statement& s : document.statements)
    set(*s.key, s.value, {kind, checkpoint ? file : s.place}, s.place);
  if (document.layers.empty()) return;
  config_.model.layers = std::move(document.layers);
  origins_["layer"] = {kind, checkpoint ? file : config_.model.layers.front().place};
}

void Deck::override_with(const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw core::UsageError(fmt::format("command line: '{}' is not understood", assignment),
                           "write block/key=value, for example data/batch=256");
  }
  override_with(trimmed(assignment.substr(0, equals)), trimmed(assignment.substr(equals + 1)),
                "command line");
}

void Deck::override_with(const std::string& path, const std::string& value,
                         const std::string& what) {
  if (path.starts_with("layer")) {
    throw core::UsageError(fmt::format("{}: layers cannot be changed here ({})", what, path),
                           "change the [[layer]] in the deck");
  }
  const Key* key = find_key(path);
  if (key == nullptr) throw unknown_key(what, path);
  set(*key, parse_value(*key, value, what), {Origin::Kind::command_line, ""}, what);
}

Origin Deck::origin(const std::string& path) const {
  const auto found = origins_.find(path);
  return found == origins_.end() ? Origin{} : found->second;
}

std::vector<std::string> Deck::go_on_from(const std::string& deck_of_checkpoint,
                                          const std::string& file) {
  Deck old;
  old.read(deck_of_checkpoint, file, Origin::Kind::checkpoint);
  std::vector<std::string> in_vain;
  const auto refuse = [&](const std::string& path, const std::string& ours,
                          const std::string& theirs) {
    throw core::UsageError(
        fmt::format("{}: {} = {} cannot be changed when a run goes on: {} was written with {}",
                    where(origin(path)), path, ours, file, theirs),
        "set it back, or start a new run with another run/dir");
  };
  for (const Key& key : schema()) {
    if (key.restart == Restart::job) continue;
    const Value ours = value_of(key, config_), theirs = value_of(key, old.config_);
    const Origin from = origin(key.path);
    if (ours == theirs) continue;
    const bool stated = from.kind != Origin::Kind::standard;
    if (key.restart == Restart::fixed && stated)
      refuse(key.path, toml_text(ours), toml_text(theirs));
    if (from.kind == Origin::Kind::command_line) continue;
    if (stated) {
      in_vain.push_back(fmt::format(
          "{}: {} = {} has no effect: the run goes on with {}; to change "
          "it now, say {}={} on the command line",
          where(from), key.path, toml_text(ours), toml_text(theirs), key.path, toml_text(ours)));
    }
    assign(key, config_, theirs);
    origins_[key.path] = {Origin::Kind::checkpoint, file};
  }
  if (!same_layers(config_.model.layers, old.config_.model.layers)) {
    if (origins_.contains("layer")) refuse("layer", "the [[layer]]s", "others");
    config_.model.layers = old.config_.model.layers;
    origins_["layer"] = {Origin::Kind::checkpoint, file};
  }
  return in_vain;
}

void Deck::check() const {
  const auto fail = [&](const std::string& path, const std::string& cause,
                        const std::string& hint) {
    throw placed(core::UsageError(path + " " + cause, hint));
  };
  for (const Key& key : schema()) {
    const std::string wrong = complaint(key, value_of(key, config_));
    if (!wrong.empty())
      fail(key.path, "is not set", fmt::format("it takes {}: {}", expectation(key), key.help));
  }
  const train::Config& c = config_;
  if (c.model.preset.empty() && c.model.layers.empty())
    fail("model/preset", "is not set, and there is no [[layer]]",
         "name a preset (isaribi help deck) or write the layers");
  if (!c.model.preset.empty() && !c.model.layers.empty())
    fail("model/preset",
         fmt::format("= \"{}\" and [[layer]]s ({}) are both given", c.model.preset,
                     origin("layer").text()),
         "leave one of them out");
  if (c.data.augment.erase_area_min > c.data.augment.erase_area_max)
    fail("data/augment/erase_area_min",
         fmt::format("= {} is larger than data/augment/erase_area_max = {}",
                     c.data.augment.erase_area_min, c.data.augment.erase_area_max),
         "choose 0 <= min <= max <= 1");
  if (c.train.steps == 0 && c.schedule.warmup_epochs > c.train.epochs)
    fail("schedule/warmup_epochs",
         fmt::format("= {} is longer than the training, train/epochs = {}",
                     c.schedule.warmup_epochs, c.train.epochs),
         "shorten the warm-up");
  if (c.data.batch % c.train.micro_batches != 0)
    fail("train/micro_batches",
         fmt::format("= {} does not divide data/batch = {}", c.train.micro_batches, c.data.batch),
         "choose a divisor of the global batch");
  if (c.train.micro_batches > 1 && !c.data.drop_last)
    fail("train/micro_batches", "> 1 needs data/drop_last = true",
         "the parts of a global batch must have the same size");
  if (c.train.loss != "softmax_cross_entropy" && c.train.label_smoothing > 0)
    fail("train/label_smoothing", fmt::format("does not go with train/loss = \"{}\"", c.train.loss),
         "label smoothing belongs to softmax_cross_entropy");
  const auto library = comm::allreduce_plan_names();
  if (c.comm.wire != "same" &&
      std::find(library.begin(), library.end(), c.comm.allreduce) != library.end())
    fail("comm/wire",
         fmt::format("= \"{}\" does not go with comm/allreduce = \"{}\"", c.comm.wire,
                     c.comm.allreduce),
         "take comm/allreduce = \"auto\", or a plan such as \"direct4-ring8/1M\"");
  if (c.comm.error_feedback &&
      (c.comm.wire == "same" || (c.comm.wire == "f32" && c.train.gradient_type == "f32")))
    fail(
        "comm/error_feedback",
        fmt::format("= true, but comm/wire = \"{}\" rounds nothing of train/gradient_type = \"{}\"",
                    c.comm.wire, c.train.gradient_type),
        "set comm/wire = \"bf16\" or \"f16\", or leave comm/error_feedback out");
  const bool second_order = c.optimizer.kind != "sgd" && c.optimizer.kind != "adamw";
  if (second_order && c.kfac.damping_schedule == "levenberg_marquardt" && c.train.micro_batches > 1)
    fail("kfac/damping_schedule", "= \"levenberg_marquardt\" needs train/micro_batches = 1",
         "it tries the loss of the whole batch again");
  if (!second_order || c.kfac.step_rule != "quadratic_model") return;
  if (c.train.micro_batches > 1)
    fail("kfac/step_rule", "= \"quadratic_model\" needs train/micro_batches = 1",
         "the model is that of the whole batch");
  for (const auto& [path, on] :
       {std::pair{"optimizer/nesterov", c.optimizer.nesterov},
        std::pair{"optimizer/momentum_follows_lr", c.optimizer.momentum_follows_lr}}) {
    if (on)
      fail(path, "= true does not go with kfac/step_rule = \"quadratic_model\"",
           "the model chooses the momentum: set it to false");
  }
}

core::UsageError Deck::placed(const core::UsageError& error) const {
  const std::string* best = nullptr;
  std::size_t at = std::string::npos;
  for (const auto& [path, origin] : origins_) {
    const std::size_t found = error.cause().find(path);
    const bool longer = found == at && best != nullptr && path.size() > best->size();
    if (found != std::string::npos && (found < at || longer)) {
      at = found;
      best = &path;
    }
  }
  if (best == nullptr || *best == "layer") return error;
  return core::UsageError(fmt::format("{}: {}", where(origin(*best)), error.cause()), error.hint());
}

std::string Deck::toml() const {
  std::string text;
  std::string block;
  for (const Key& key : schema()) {
    if (block_of(key.path) != block) {
      block = block_of(key.path);
      std::string dotted = block;
      std::replace(dotted.begin(), dotted.end(), '/', '.');
      text += fmt::format("\n[{}]\n", dotted);
    }
    text += fmt::format("{} = {}  # {}\n", name_of(key.path), toml_text(value_of(key, config_)),
                        origin(key.path).text());
  }
  for (const nn::LayerSpec& layer : config_.model.layers)
    text.append("\n").append(layer_toml(layer));
  return text;
}

std::vector<std::string> Deck::table() const {
  std::size_t path_width = 0, value_width = 0;
  for (const Key& key : schema()) {
    path_width = std::max(path_width, key.path.size());
    value_width = std::max(value_width, toml_text(value_of(key, config_)).size());
  }
  value_width = std::min<std::size_t>(value_width, 40);
  std::vector<std::string> lines;
  for (const Key& key : schema())
    lines.push_back(fmt::format("  {:<{}}  {:<{}}  {}", key.path, path_width,
                                toml_text(value_of(key, config_)), value_width,
                                origin(key.path).text()));
  if (!config_.model.layers.empty())
    lines.push_back(fmt::format("  {:<{}}  {:<{}}  {}", "[[layer]]", path_width,
                                fmt::format("{} layers", config_.model.layers.size()), value_width,
                                origin("layer").text()));
  return lines;
}

}  // namespace isaribi::app

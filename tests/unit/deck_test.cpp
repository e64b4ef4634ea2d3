// SPDX-License-Identifier: MIT
// The deck without the program around it: the table is sound, a deck survives writing and reading,
// and the four origins win in their order.
#include "app/deck.hpp"

#include <set>

#include "catch.hpp"

using namespace isaribi;
using app::Deck;
using app::Origin;

namespace {

const char* const kText = R"(version = 1
[data]
train = "train.h5"
test = "test.h5"
batch = 64
[data.augment]
crop = 2
[schedule]
kind = "step"
milestones = [10, 20.5]
[[layer]]
kind = "conv"
name = "first"
channels = 8
bias = false
[[layer]]
kind = "add"
inputs = ["first", "input"]
)";

std::string message(const std::function<void()>& work) {
  try {
    work();
  } catch (const core::UsageError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("schema: every key once, with a help, and a default that it allows") {
  std::set<std::string> paths;
  const train::Config standard;
  for (const app::Key& key : app::schema()) {
    INFO(key.path);
    CHECK(paths.insert(key.path).second);
    CHECK(key.help.size() > 3);
    CHECK(app::find_key(key.path) == &key);
    if (!key.limits.required) CHECK(app::complaint(key, app::value_of(key, standard)).empty());
    CHECK(contains(app::deck_help(), app::name_of(key.path)));
    // Written as on a command line and read again it is the same value.
    const app::Value value = app::value_of(key, standard);
    CHECK(app::parse_value(key, app::toml_text(value), "test") == value);
  }
}

TEST_CASE("deck: values, origins and layers") {
  Deck deck;
  deck.read(kText, "some/deck.toml");
  const train::Config& c = deck.config();
  CHECK(c.data.batch == 64);
  CHECK(c.data.augment.crop == 2);
  CHECK(c.schedule.milestones == std::vector<double>{10, 20.5});
  CHECK(c.optimizer.momentum == 0.9);
  CHECK(deck.origin("data/batch").text() == "deck.toml:5");
  CHECK(deck.origin("optimizer/momentum").text() == "default");
  REQUIRE(c.model.layers.size() == 2);
  CHECK(c.model.layers[0].place == "some/deck.toml:11");
  CHECK(c.model.layers[0].numbers.at("bias") == 0);
  CHECK(c.model.layers[1].inputs == std::vector<std::string>{"first", "input"});
}

TEST_CASE("deck: written and read again it is the same") {
  Deck deck;
  deck.read(kText, "deck.toml");
  deck.override_with("run/dir=a \"quoted\" name\\with\ttab");
  deck.override_with("optimizer/lr=1e-7");
  deck.override_with("optimizer/weight_decay=0.1");
  Deck again;
  again.read(deck.toml(), "again.toml");
  for (const app::Key& key : app::schema()) {
    INFO(key.path);
    CHECK(app::value_of(key, again.config()) == app::value_of(key, deck.config()));
  }
  REQUIRE(again.config().model.layers.size() == 2);
  CHECK(again.config().model.layers[0].numbers == deck.config().model.layers[0].numbers);
  CHECK(again.config().model.layers[1].inputs == deck.config().model.layers[1].inputs);
}

TEST_CASE("deck: overrides of every type") {
  Deck deck;
  deck.override_with("data/shuffle=off");
  deck.override_with("data/batch = 4096");
  deck.override_with("optimizer/lr=0.25");
  deck.override_with("run/backend=simd");
  deck.override_with("schedule/milestones=30,60, 80");
  CHECK_FALSE(deck.config().data.shuffle);
  CHECK(deck.config().data.batch == 4096);
  CHECK(deck.config().optimizer.lr == 0.25);
  CHECK(deck.config().run.backend == "simd");
  CHECK(deck.config().schedule.milestones == std::vector<double>{30, 60, 80});
  CHECK(deck.origin("data/batch").kind == Origin::Kind::command_line);
  deck.override_with("schedule/milestones=[]");
  CHECK(deck.config().schedule.milestones.empty());
  for (const char* wrong :
       {"data/shuffle=maybe", "data/batch=1.5", "data/batch=", "optimizer/lr=fast",
        "schedule/milestones=1,,2", "schedule/milestones=1;2", "data/batch=99999999999999999999"}) {
    INFO(wrong);
    CHECK(contains(message([&] { deck.override_with(wrong); }), "command line: "));
  }
}

TEST_CASE("deck: a checkpoint decides what belongs to its run, the command line may change it") {
  Deck old;
  old.read(kText, "old.toml");
  old.override_with("train/epochs=30");
  old.override_with("run/seed=5");
  const std::string text = kText;

  Deck deck;
  deck.read(text + "\n", "deck.toml");
  deck.override_with("optimizer/lr=0.5");
  deck.override_with("train/steps=9");
  CHECK(deck.go_on_from(old.toml(), "c/step-1.h5").empty());
  CHECK(deck.config().train.epochs == 30);
  CHECK(deck.origin("train/epochs").text() == "checkpoint step-1.h5");
  CHECK(deck.config().run.seed == 5);
  CHECK(deck.config().optimizer.lr == 0.5);
  CHECK(deck.config().train.steps == 9);

  Deck edited;
  edited.read(text.substr(0, text.find("[schedule]")) + "[train]\nepochs = 40\nlog_every = 3\n" +
                  text.substr(text.find("[schedule]")),
              "edited.toml");
  const std::vector<std::string> in_vain = edited.go_on_from(old.toml(), "c/step-1.h5");
  REQUIRE(in_vain.size() == 1);
  CHECK(contains(in_vain[0], "edited.toml:9: train/epochs = 40"));
  CHECK(edited.config().train.epochs == 30);
  CHECK(edited.config().train.log_every == 3);

  Deck refused;
  refused.read(text, "deck.toml");
  refused.override_with("data/batch=65");
  CHECK(
      contains(message([&] { refused.go_on_from(old.toml(), "c/step-1.h5"); }), "data/batch = 65"));
  Deck other;
  std::string changed = text;
  changed.replace(changed.find("channels = 8"), 12, "channels = 9");
  other.read(changed, "deck.toml");
  CHECK(contains(message([&] { other.go_on_from(old.toml(), "c/step-1.h5"); }),
                 "deck.toml:11: layer"));
}

TEST_CASE("deck: an error that names a key gets the place where it was set") {
  Deck deck;
  deck.read(kText, "some/deck.toml");
  const auto placed = deck.placed(core::UsageError("data/batch = 64 is too much", "less"));
  CHECK(placed.cause() == "some/deck.toml:5: data/batch = 64 is too much");
  CHECK(placed.hint() == "less");
  CHECK(deck.placed(core::UsageError("nothing known")).cause() == "nothing known");
}

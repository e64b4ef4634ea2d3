// SPDX-License-Identifier: MIT
// A deck: the value of every key and where it comes from. Precedence, weakest first: default, deck,
// checkpoint (when a run goes on), command line. Whatever is wrong is one UsageError that names the
// place (file and line, or "command line"), what was expected and the nearest valid name.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "app/schema.hpp"
#include "core/error.hpp"

namespace isaribi::app {

struct Origin {
  enum class Kind { standard, deck, checkpoint, command_line };
  Kind kind = Kind::standard;
  std::string place;  ///< path and line of a deck, a checkpoint; empty for the others
  /// "default", "lenet.toml:12", "checkpoint step-000000000938.h5", "command line"
  std::string text() const;
};

class Deck {
 public:
  /// Everything as it is by default.
  Deck() = default;

  /// Takes what the TOML `text` states. @param file its name, for messages. @throws UsageError.
  void read(const std::string& text, const std::string& file,
            Origin::Kind kind = Origin::Kind::deck);
  /// Takes "block/key=value" of the command line. Texts need no quotes; lists are 30,60 or [30,
  /// 60].
  void override_with(const std::string& assignment);
  /// The same with the parts apart; `what` names it in messages ("--backend").
  void override_with(const std::string& path, const std::string& value, const std::string& what);
  /// Takes over from the deck of the checkpoint `file` what a restart may not or should not change.
  /// Returns one line for each key that this job's deck states in vain. @throws UsageError when a
  /// fixed key was given another value.
  std::vector<std::string> go_on_from(const std::string& deck_of_checkpoint,
                                      const std::string& file);
  /// What no single key can know: something is missing, or two keys do not fit. @throws UsageError.
  void check() const;

  const train::Config& config() const { return config_; }
  Origin origin(const std::string& path) const;
  /// `error` with the place of the first key that its cause names in front, when that key was set.
  core::UsageError placed(const core::UsageError& error) const;

  /// The whole deck as TOML, each line with its origin as comment.
  std::string toml() const;
  /// The same as aligned lines for the screen: "data/batch  128  lenet.toml:7".
  std::vector<std::string> table() const;

 private:
  void set(const Key& key, const Value& value, const Origin& origin, const std::string& where);

  train::Config config_;
  std::map<std::string, Origin, std::less<>> origins_;  // of keys that are not default
};

/// The value that `text` of a command line means for `key`. @throws UsageError; `where` starts it.
Value parse_value(const Key& key, const std::string& text, const std::string& where);
/// "WHERE: unknown key 'optimzer/lr'", with the nearest key or block as hint.
core::UsageError unknown_key(const std::string& where, const std::string& path);

/// What one TOML document states; deck_toml.cpp.
struct Statement {
  const Key* key;
  Value value;
  std::string place;
};
struct Document {
  std::vector<Statement> statements;
  std::vector<nn::LayerSpec> layers;
};
Document parse_toml(const std::string& text, const std::string& file);

/// One [[layer]] as TOML.
std::string layer_toml(const nn::LayerSpec& layer);
/// All blocks and keys with type, default and meaning; deck_help.cpp.
std::string deck_help();

}  // namespace isaribi::app

// SPDX-License-Identifier: MIT
// Every key of a deck in one table: where it is stored, what it may be, what it means, and whether
// a restart may change it. Parsing, overrides, print-outs, help and hints all read this table, so
// that a new key is one line here and one field in a settings struct (which also holds its
// default).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "train/config.hpp"

namespace isaribi::app {

/// The deck format that this program writes, and the newest that it reads.
inline constexpr int kDeckVersion = 1;

/// Where a key is stored.
using Slot = std::variant<bool*, int*, std::int64_t*, std::uint64_t*, double*, std::string*,
                          std::vector<double>*>;
/// What a key holds: yes/no, whole number, number, text, list of numbers.
using Value = std::variant<bool, std::int64_t, double, std::string, std::vector<double>>;

/// Who decides the value of a key when a run goes on from a checkpoint.
enum class Restart {
  job,    ///< deck and command line of this job: it does not touch the trajectory
  state,  ///< the checkpoint, unless the command line says otherwise
  fixed,  ///< the checkpoint; another value is refused
};

/// What a value may be.
struct Limits {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool above_low = false;  ///< low itself is out
  std::vector<std::string> choices = {};
  bool required = false;  ///< text that may not stay empty
  /// Text beside the choices that is known, too, and how expectation() names it; null: none.
  bool (*also)(const std::string& text) = nullptr;
  const char* also_expected = "";
};

struct Key {
  std::string path;  ///< "data/augment/crop"; as TOML: crop in [data.augment]
  Slot (*slot)(train::Config&);
  std::string help;
  Limits limits = {};
  Restart restart = Restart::state;
};

/// All keys, block by block.
const std::vector<Key>& schema();
/// nullptr for an unknown path.
const Key* find_key(std::string_view path);
/// "" (the top), "run", "data", "data/augment", ... in the order of the table.
const std::vector<std::string>& blocks();
/// "data/augment" of "data/augment/crop", "" of "version"; and "crop".
std::string block_of(std::string_view path);
std::string name_of(std::string_view path);

Value value_of(const Key& key, const train::Config& config);
/// @param value holds the type that value_of returns for this key.
void assign(const Key& key, train::Config& config, const Value& value);

/// What is expected: "a whole number of at least 1", "one of sgd, adamw".
std::string expectation(const Key& key);
/// Empty when `value` is within the limits, else what is wrong: "is out of range".
std::string complaint(const Key& key, const Value& value);
/// The value as TOML: 0.1, "text", [30, 60].
std::string toml_text(const Value& value);

}  // namespace isaribi::app

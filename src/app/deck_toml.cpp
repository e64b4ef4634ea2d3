// SPDX-License-Identifier: MIT
// From TOML to typed statements. Only this and machine_file.cpp know the TOML library.
#include <fmt/format.h>
#include <toml++/toml.h>

#include "app/deck.hpp"
#include "nn/options.hpp"

namespace isaribi::app {
namespace {

class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  Document read(const toml::table& root) {
    refuse_newer(root);
    block(root, "");
    return std::move(document_);
  }

 private:
  std::string place(const toml::node& node) const {
    return fmt::format("{}:{}", file_, node.source().begin.line);
  }
  std::string place(const toml::key& key) const {
    return fmt::format("{}:{}", file_, key.source().begin.line);
  }

  // First of all: a newer deck may hold keys that are unknown here, and those are not the cause.
  void refuse_newer(const toml::table& root) const {
    const toml::node* version = root.get("version");
    if (version == nullptr || !version->is_integer() || **version->as_integer() <= kDeckVersion)
      return;
    throw core::UsageError(
        fmt::format("{}: the deck is of version {}, and this isaribi reads up to version {}",
                    place(*version), **version->as_integer(), kDeckVersion),
        "use a newer isaribi, or write the deck for version " + std::to_string(kDeckVersion));
  }

  void block(const toml::table& table, const std::string& path) {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      const std::string full = path.empty() ? name : path + "/" + name;
      if (full == "layer") {
        layers(node, place(key));
      } else if (const Key* known = find_key(full)) {
        document_.statements.push_back({known, typed(*known, node, place(key)), place(key)});
      } else if (is_block(full)) {
        if (!node.is_table())
          throw core::UsageError(
              fmt::format("{}: {} is a block, got {}", place(key), full, described(node)),
              fmt::format("write [{}] on a line of its own, then its keys", name));
        block(*node.as_table(), full);
      } else if (node.is_table()) {
        throw unknown_block(place(key), full);
      } else {
        throw unknown_key(place(key), full);
      }
    }
  }

  static bool is_block(const std::string& path) {
    for (const std::string& known : blocks()) {
      if (known == path) return true;
    }
    return false;
  }

  static core::UsageError unknown_block(const std::string& where, const std::string& path) {
    std::vector<std::string> names(blocks().begin() + 1, blocks().end());
    names.push_back("layer");
    const std::string near = nn::nearest_name(path, names);
    std::string hint = near == "layer" ? "did you mean [[layer]]? "
                       : near.empty()  ? ""
                                       : fmt::format("did you mean [{}]? ", near);
    return core::UsageError(fmt::format("{}: unknown block [{}]", where, path),
                            hint + "isaribi help deck lists all blocks");
  }

  static std::string described(const toml::node& node) {
    if (const auto* x = node.as_string()) return "the text " + toml_text(x->get());
    if (const auto* x = node.as_integer()) return fmt::format("the whole number {}", x->get());
    if (const auto* x = node.as_floating_point()) return fmt::format("the number {}", x->get());
    if (const auto* x = node.as_boolean()) return x->get() ? "true" : "false";
    if (node.is_array()) return "a list";
    if (node.is_table()) return "a block";
    return "a date or time";
  }

  static bool numeric(const toml::node& node, double& out) {
    if (const auto* x = node.as_integer()) {
      out = static_cast<double>(x->get());
    } else if (const auto* y = node.as_floating_point()) {
      out = y->get();
    } else {
      return false;
    }
    return true;
  }

  Value typed(const Key& key, const toml::node& node, const std::string& where) const {
    const Value example = value_of(key, train::Config{});
    double number = 0;
    if (std::holds_alternative<bool>(example) && node.is_boolean()) return node.as_boolean()->get();
    if (std::holds_alternative<std::int64_t>(example) && node.is_integer())
      return node.as_integer()->get();
    if (std::holds_alternative<double>(example) && numeric(node, number)) return number;
    if (std::holds_alternative<std::string>(example) && node.is_string())
      return node.as_string()->get();
    if (std::holds_alternative<std::vector<double>>(example) && node.is_array()) {
      std::vector<double> list;
      for (const toml::node& element : *node.as_array()) {
        if (!numeric(element, number))
          throw wrong_type(key, place(element), "a list that holds " + described(element));
        list.push_back(number);
      }
      return list;
    }
    throw wrong_type(key, where, described(node));
  }

  static core::UsageError wrong_type(const Key& key, const std::string& where,
                                     const std::string& got) {
    return core::UsageError(
        fmt::format("{}: {} takes {}, got {}", where, key.path, expectation(key), got),
        fmt::format("{}: {}", name_of(key.path), key.help));
  }

  void layers(const toml::node& node, const std::string& where) {
    if (!node.is_array_of_tables())
      throw core::UsageError(
          fmt::format("{}: layers are written as [[layer]], got {}", where, described(node)),
          "write [[layer]] with two brackets before each layer");
    for (const toml::node& element : *node.as_array())
      document_.layers.push_back(layer(*element.as_table()));
  }

  nn::LayerSpec layer(const toml::table& table) const {
    nn::LayerSpec spec;
    spec.place = place(table);
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (name == "kind" || name == "name") {
        if (!node.is_string())
          throw core::UsageError(
              fmt::format("{}: {} takes a text, got {}", place(key), name, described(node)));
        (name == "kind" ? spec.kind : spec.name) = node.as_string()->get();
      } else if (name == "inputs" || name == "input") {
        spec.inputs = inputs(node, place(key));
      } else {
        option(spec, name, node, place(key));
      }
    }
    if (spec.kind.empty())
      throw core::UsageError(spec.place + ": this [[layer]] has no kind",
                             "add kind = \"conv\", for example");
    return spec;
  }

  static std::vector<std::string> inputs(const toml::node& node, const std::string& where) {
    if (const auto* one = node.as_string()) return {one->get()};
    std::vector<std::string> names;
    if (const auto* many = node.as_array()) {
      for (const toml::node& element : *many) {
        if (!element.is_string()) break;
        names.push_back(element.as_string()->get());
      }
      if (names.size() == many->size()) return names;
    }
    throw core::UsageError(where + ": inputs takes names of earlier layers, got " + described(node),
                           "write inputs = [\"conv1\", \"conv2\"]");
  }

  static void option(nn::LayerSpec& spec, const std::string& name, const toml::node& node,
                     const std::string& where) {
    double number = 0;
    if (numeric(node, number)) {
      spec.numbers[name] = number;
    } else if (const auto* yes = node.as_boolean()) {
      spec.numbers[name] = yes->get() ? 1 : 0;
    } else if (const auto* text = node.as_string()) {
      spec.texts[name] = text->get();
    } else {
      throw core::UsageError(
          fmt::format("{}: {} of a layer takes a number, a text, true or false, got {}", where,
                      name, described(node)));
    }
  }

  std::string file_;
  Document document_;
};

}  // namespace

Document parse_toml(const std::string& text, const std::string& file) {
  try {
    return Reader(file).read(toml::parse(text, file));
  } catch (const toml::parse_error& error) {
    const auto at = error.source().begin;
    throw core::UsageError(
        fmt::format("{}:{}:{}: not TOML: {}", file, at.line, at.column, error.description()),
        "texts need quotes; see inputs/ for examples and https://toml.io for the language");
  }
}

std::string layer_toml(const nn::LayerSpec& layer) {
  std::string text =
      fmt::format("[[layer]]  # {}\nkind = {}\n", layer.place, toml_text(layer.kind));
  if (!layer.name.empty()) text += fmt::format("name = {}\n", toml_text(layer.name));
  if (!layer.inputs.empty()) {
    text += "inputs = [";
    for (std::size_t i = 0; i < layer.inputs.size(); ++i)
      text += (i == 0 ? "" : ", ") + toml_text(layer.inputs[i]);
    text += "]\n";
  }
  for (const auto& [name, value] : layer.numbers) text += fmt::format("{} = {}\n", name, value);
  for (const auto& [name, value] : layer.texts)
    text += fmt::format("{} = {}\n", name, toml_text(value));
  return text;
}

}  // namespace isaribi::app

// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include "app/deck.hpp"

namespace isaribi::app {

std::string deck_help() {
  std::string text =
      "A deck is a TOML file. Every key can also be given on the command line as block/key=value.\n"
      "Who wins: default < deck < checkpoint (when a run goes on) < command line.\n";
  std::string block = "-";
  for (const Key& key : schema()) {
    if (block_of(key.path) != block) {
      block = block_of(key.path);
      std::string dotted = block;
      for (char& c : dotted) c = c == '/' ? '.' : c;
      text += block.empty() ? "\n" : fmt::format("\n[{}]\n", dotted);
    }
    const std::string standard = toml_text(value_of(key, train::Config{}));
    const char* restart = key.restart == Restart::fixed   ? "; fixed once a run has started"
                          : key.restart == Restart::state ? "; a restart keeps it"
                                                          : "";
    text += fmt::format("  {:<20} {}\n  {:<20}   takes {}; default {}{}\n", name_of(key.path),
                        key.help, "", expectation(key), standard, restart);
  }
  text +=
      "\n[[layer]]  one per layer, instead of model/preset; in order, each reads the one before\n"
      "  kind                 conv, linear, batch_norm, relu, relu6, tanh, sigmoid, swish, "
      "max_pool,\n"
      "                       average_pool, global_average_pool, flatten, dropout, add, concat\n"
      "  name                 to be named by others; default: kind and running number\n"
      "  inputs               names of earlier layers; \"input\" is the sample\n"
      "  ...                  options of the kind, such as channels, kernel, stride, pad "
      "(src/nn/README.md)\n";
  return text;
}

}  // namespace isaribi::app

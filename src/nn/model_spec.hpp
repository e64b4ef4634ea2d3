// SPDX-License-Identifier: MIT
// What a model is, as the deck states it: a preset, or a list of layers. The graph is built from
// this and the shape of one sample; nothing here touches hardware.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace isaribi::nn {

/// One [[layer]] of a deck. `kind` names the layer (conv, linear, batch_norm, relu, max_pool, add,
/// ...); `inputs` names earlier layers (default: the one before; "input" is the sample); numeric
/// and text options are checked by the layer.
struct LayerSpec {
  std::string name;  ///< unique; default kind + running number ("conv2")
  std::string kind;
  std::vector<std::string> inputs;
  std::map<std::string, double> numbers;  ///< channels, kernel, stride, pad, groups, p, ...
  std::map<std::string, std::string>
      texts;          ///< share = "conv1" (weights shared with an earlier layer), ...
  std::string place;  ///< "deck.toml:12", for messages
};

/// [model] of the deck.
struct ModelSpec {
  std::string preset;  ///< "lenet5", "small_cnn", "resnet8", ...; empty when layers are given
  std::vector<LayerSpec> layers;
  std::int64_t outputs =
      10;  ///< classes, or features of a regression; taken from the data set when 0
  bool batch_norm_sync =
      true;  ///< batch statistics over the global batch (the result does not depend on ranks)
  double batch_norm_momentum = 0.1;  ///< running = (1 - m) running + m batch
  double batch_norm_epsilon = 1e-5;
};

}  // namespace isaribi::nn

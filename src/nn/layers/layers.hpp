// SPDX-License-Identifier: MIT
// One maker per kind of layer, and the table that finds them by the deck's name. A maker reads its
// options and returns the layer; shapes come later, through Layer::infer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/layer.hpp"
#include "nn/options.hpp"

namespace isaribi::nn::layers {

/// What a maker may need beside the options.
struct MakeContext {
  const ModelSpec& model;
  std::uint64_t index;  ///< position of the layer in the graph; keys dropout
};

/// "conv", "linear", ...: every kind a deck may name.
std::vector<std::string> kinds();
/// @throws UsageError for an unknown kind or option.
std::unique_ptr<Layer> make(const LayerSpec& spec, const MakeContext& context);

using Made = std::unique_ptr<Layer>;
Made make_conv(OptionReader& options, const MakeContext& context);
Made make_linear(OptionReader& options, const MakeContext& context);
Made make_batch_norm(OptionReader& options, const MakeContext& context);
Made make_activation(OptionReader& options, const MakeContext& context);
Made make_max_pool(OptionReader& options, const MakeContext& context);
Made make_average_pool(OptionReader& options, const MakeContext& context);
Made make_global_average_pool(OptionReader& options, const MakeContext& context);
Made make_flatten(OptionReader& options, const MakeContext& context);
Made make_dropout(OptionReader& options, const MakeContext& context);
Made make_add(OptionReader& options, const MakeContext& context);
Made make_concat(OptionReader& options, const MakeContext& context);

}  // namespace isaribi::nn::layers

// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "core/error.hpp"
#include "nn/layers/layers.hpp"

namespace isaribi::nn::layers {
namespace {

using Maker = Made (*)(OptionReader&, const MakeContext&);

// To add a layer: write its file, declare its maker in layers.hpp, and name it here.
constexpr std::pair<const char*, Maker> kMakers[] = {
    {"conv", make_conv},
    {"linear", make_linear},
    {"batch_norm", make_batch_norm},
    {"relu", make_activation},
    {"relu6", make_activation},
    {"tanh", make_activation},
    {"sigmoid", make_activation},
    {"swish", make_activation},
    {"max_pool", make_max_pool},
    {"average_pool", make_average_pool},
    {"global_average_pool", make_global_average_pool},
    {"flatten", make_flatten},
    {"dropout", make_dropout},
    {"add", make_add},
    {"concat", make_concat},
};

}  // namespace

std::vector<std::string> kinds() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : kMakers) names.emplace_back(name);
  return names;
}

std::unique_ptr<Layer> make(const LayerSpec& spec, const MakeContext& context) {
  OptionReader options(spec);
  for (const auto& [name, maker] : kMakers) {
    if (spec.kind != name) continue;
    Made layer = maker(options, context);
    options.finish();
    return layer;
  }
  const std::string near = nearest_name(spec.kind, kinds());
  throw core::UsageError(
      fmt::format("{}: unknown layer kind '{}'", options.where(), spec.kind),
      fmt::format("{}known kinds: {}", near.empty() ? "" : "did you mean '" + near + "'? ",
                  fmt::join(kinds(), ", ")));
}

}  // namespace isaribi::nn::layers

// SPDX-License-Identifier: MIT
// What the preset files share: a list of layers that writes itself, one call per layer. Internal.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/shape.hpp"
#include "nn/model_spec.hpp"

namespace isaribi::nn::presets {

using Numbers = std::map<std::string, double>;
using Layers = std::vector<LayerSpec>;

/// Collects layers; each call adds one and returns its name. Without `inputs` a layer reads the one
/// before.
class Builder {
 public:
  std::string layer(std::string name, std::string kind, Numbers numbers = {},
                    std::vector<std::string> inputs = {}) {
    layers_.push_back({.name = std::move(name),
                       .kind = std::move(kind),
                       .inputs = std::move(inputs),
                       .numbers = std::move(numbers),
                       .texts = {},
                       .place = ""});
    return layers_.back().name;
  }
  /// Convolution without bias, batch norm and, when named, an activation: NAME_conv, NAME_bn,
  /// NAME_relu.
  std::string conv_bn(const std::string& name, Numbers conv, const std::string& activation,
                      std::vector<std::string> inputs = {}) {
    conv["bias"] = 0;
    layer(name + "_conv", "conv", std::move(conv), std::move(inputs));
    std::string last = layer(name + "_bn", "batch_norm");
    if (!activation.empty()) last = layer(name + "_" + activation, activation);
    return last;
  }
  std::string last() const { return layers_.empty() ? "input" : layers_.back().name; }
  LayerSpec& back() { return layers_.back(); }
  Layers take() { return std::move(layers_); }

 private:
  Layers layers_;
};

Layers lenet5(std::int64_t outputs);
Layers small_cnn(std::int64_t outputs);
Layers mlp(std::int64_t outputs);
Layers autoencoder(const core::Shape& sample);
Layers embedding(std::int64_t outputs);
Layers vgg16(std::int64_t outputs);
/// CIFAR ResNet with n blocks per stage: 6 n + 2 layers.
Layers resnet_small(std::int64_t blocks, std::int64_t outputs);
Layers resnet50(const core::Shape& sample, std::int64_t outputs);
Layers mobilenet_v2(const core::Shape& sample, std::int64_t outputs);

}  // namespace isaribi::nn::presets

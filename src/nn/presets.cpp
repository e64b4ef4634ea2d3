// SPDX-License-Identifier: MIT
// The table of presets, and those without branches. Every definition is checked by its number of
// parameters in tests/unit/presets_test.cpp.
#include "nn/presets.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.hpp"
#include "nn/graph.hpp"
#include "nn/options.hpp"

namespace isaribi::nn {
namespace presets {

// LeNet-5 (LeCun et al. 1998) as it is used today: relu, max pooling, full connections; the first
// convolution is padded so that 28 x 28 works. 61,706 parameters for 28 x 28 x 1 and 10 outputs.
Layers lenet5(std::int64_t outputs) {
  Builder b;
  b.layer("conv1", "conv", {{"channels", 6}, {"kernel", 5}, {"pad", 2}});
  b.layer("relu1", "relu");
  b.layer("pool1", "max_pool");
  b.layer("conv2", "conv", {{"channels", 16}, {"kernel", 5}});
  b.layer("relu2", "relu");
  b.layer("pool2", "max_pool");
  b.layer("fc1", "linear", {{"features", 120}});
  b.layer("relu3", "relu");
  b.layer("fc2", "linear", {{"features", 84}});
  b.layer("relu4", "relu");
  b.layer("output", "linear", {{"features", static_cast<double>(outputs)}});
  return b.take();
}

// 3 x 3 convolutions 32-32-pool-64-64-pool with batch norm and a global-average head: 65,834
// parameters for one input channel and 10 outputs.
Layers small_cnn(std::int64_t outputs) {
  Builder b;
  int index = 0;
  for (const double channels : {32, 32, 64, 64}) {
    ++index;
    b.conv_bn(fmt::format("c{}", index), {{"channels", channels}, {"kernel", 3}, {"pad", 1}},
              "relu");
    if (index % 2 == 0) b.layer(fmt::format("pool{}", index / 2), "max_pool");
  }
  b.layer("gap", "global_average_pool");
  b.layer("output", "linear", {{"features", static_cast<double>(outputs)}});
  return b.take();
}

// Two hidden layers of 256 and 128 relu units.
Layers mlp(std::int64_t outputs) {
  Builder b;
  b.layer("fc1", "linear", {{"features", 256}});
  b.layer("relu1", "relu");
  b.layer("fc2", "linear", {{"features", 128}});
  b.layer("relu2", "relu");
  b.layer("output", "linear", {{"features", static_cast<double>(outputs)}});
  return b.take();
}

// The deep autoencoder of Hinton & Salakhutdinov 2006 and Martens & Grosse 2015: D-1000-500-250-30
// and back, tanh units, a linear code, logits for the Bernoulli cross-entropy. Glorot start, since
// tanh wants it. 2,837,314 parameters for D = 784.
Layers autoencoder(const core::Shape& sample) {
  Builder b;
  const auto dense = [&](const std::string& name, double features, bool squash) {
    b.layer(name, "linear", {{"features", features}});
    b.back().texts["init"] = "glorot";
    if (squash) b.layer(name + "_tanh", "tanh");
  };
  b.layer("flat", "flatten");
  dense("encode1", 1000, true);
  dense("encode2", 500, true);
  dense("encode3", 250, true);
  dense("code", 30, false);
  dense("decode3", 250, true);
  dense("decode2", 500, true);
  dense("decode1", 1000, true);
  dense("output", static_cast<double>(sample.count()), false);
  return b.take();
}

// A small network whose `outputs` features are compared by distance (metric learning): three 3 x 3
// convolutions 32-64-128 with batch norm, global average, linear.
Layers embedding(std::int64_t outputs) {
  Builder b;
  int index = 0;
  for (const double channels : {32, 64, 128}) {
    if (index++ > 0) b.layer(fmt::format("pool{}", index - 1), "max_pool");
    b.conv_bn(fmt::format("c{}", index), {{"channels", channels}, {"kernel", 3}, {"pad", 1}},
              "relu");
  }
  b.layer("gap", "global_average_pool");
  b.layer("output", "linear", {{"features", static_cast<double>(outputs)}});
  return b.take();
}

// VGG-16 (Simonyan & Zisserman 2015, configuration D), without batch norm, dropout 0.5 in the head.
// 138,357,544 parameters for 224 x 224 x 3 and 1000 outputs. Samples of at least 32 x 32.
Layers vgg16(std::int64_t outputs) {
  Builder b;
  const int convs[] = {2, 2, 3, 3, 3};
  const double channels[] = {64, 128, 256, 512, 512};
  for (int stage = 0; stage < 5; ++stage) {
    for (int i = 0; i < convs[stage]; ++i) {
      const std::string id = fmt::format("{}_{}", stage + 1, i + 1);
      b.layer("conv" + id, "conv", {{"channels", channels[stage]}, {"kernel", 3}, {"pad", 1}});
      b.layer("relu" + id, "relu");
    }
    b.layer(fmt::format("pool{}", stage + 1), "max_pool");
  }
  for (const char* name : {"fc1", "fc2"}) {
    b.layer(name, "linear", {{"features", 4096}});
    b.layer(std::string(name) + "_relu", "relu");
    b.layer(std::string(name) + "_dropout", "dropout", {{"p", 0.5}});
  }
  b.layer("output", "linear", {{"features", static_cast<double>(outputs)}});
  return b.take();
}

}  // namespace presets

std::vector<std::string> preset_names() {
  return {"lenet5", "small_cnn",    "resnet8",     "resnet14", "resnet20", "resnet50",
          "vgg16",  "mobilenet_v2", "autoencoder", "mlp",      "embedding"};
}

std::vector<LayerSpec> preset_layers(const std::string& name, const core::Shape& sample,
                                     std::int64_t outputs) {
  if (outputs < 1 && name != "autoencoder") {
    throw core::UsageError(fmt::format("model/outputs = {} is out of range", outputs),
                           "use at least 1");
  }
  if (name == "lenet5") return presets::lenet5(outputs);
  if (name == "small_cnn") return presets::small_cnn(outputs);
  if (name == "resnet8") return presets::resnet_small(1, outputs);
  if (name == "resnet14") return presets::resnet_small(2, outputs);
  if (name == "resnet20") return presets::resnet_small(3, outputs);
  if (name == "resnet50") return presets::resnet50(sample, outputs);
  if (name == "vgg16") return presets::vgg16(outputs);
  if (name == "mobilenet_v2") return presets::mobilenet_v2(sample, outputs);
  if (name == "autoencoder") return presets::autoencoder(sample);
  if (name == "mlp") return presets::mlp(outputs);
  if (name == "embedding") return presets::embedding(outputs);
  const std::string near = nearest_name(name, preset_names());
  throw core::UsageError(
      fmt::format("model/preset = \"{}\" is not known", name),
      fmt::format("{}presets: {}", near.empty() ? "" : "did you mean '" + near + "'? ",
                  fmt::join(preset_names(), ", ")));
}

}  // namespace isaribi::nn

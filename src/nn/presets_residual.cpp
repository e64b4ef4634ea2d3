// SPDX-License-Identifier: MIT
// Presets with shortcuts: the CIFAR ResNets, ResNet-50, MobileNetV2.
#include <fmt/format.h>

#include <algorithm>

#include "nn/presets.hpp"

namespace isaribi::nn::presets {
namespace {

// Photographs get the original stem, which divides the extent by 4; thumbnails would have nothing
// left and get one that keeps their extent.
constexpr std::int64_t kThumbnail = 64;

bool is_thumbnail(const core::Shape& sample) {
  return sample.rank() == 3 && std::min(sample[0], sample[1]) < kThumbnail;
}

// relu(main + shortcut) after the main branch; a shortcut that changes shape is a 1 x 1 convolution
// with batch norm (option B of He et al. 2016).
std::string join(Builder& b, const std::string& name, const std::string& from, bool project,
                 double channels, double stride) {
  const std::string main = b.last();
  std::string shortcut = from;
  if (project) {
    shortcut = b.conv_bn(name + "_shortcut",
                         {{"channels", channels}, {"kernel", 1}, {"stride", stride}}, "", {from});
  }
  b.layer(name + "_add", "add", {}, {main, shortcut});
  return b.layer(name + "_relu", "relu");
}

void head(Builder& b, std::int64_t outputs) {
  b.layer("gap", "global_average_pool");
  b.layer("output", "linear", {{"features", static_cast<double>(outputs)}});
}

}  // namespace

// He et al. 2016, section 4.2: 3 x 3 convolutions, stages of 16, 32 and 64 channels. Shortcuts that
// change shape are projections (option B): 174,970 parameters for n = 2, one input channel and 10
// outputs (172,218 with the parameter-free option A).
Layers resnet_small(std::int64_t blocks, std::int64_t outputs) {
  Builder b;
  std::string from = b.conv_bn("stem", {{"channels", 16}, {"kernel", 3}, {"pad", 1}}, "relu");
  double before = 16;
  for (int stage = 0; stage < 3; ++stage) {
    const double channels = 16 << stage;
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::string name = fmt::format("s{}b{}", stage + 1, block + 1);
      const double stride = channels != before ? 2 : 1;
      b.conv_bn(name + "_1",
                {{"channels", channels}, {"kernel", 3}, {"pad", 1}, {"stride", stride}}, "relu",
                {from});
      b.conv_bn(name + "_2", {{"channels", channels}, {"kernel", 3}, {"pad", 1}}, "");
      from = join(b, name, from, channels != before, channels, stride);
      before = channels;
    }
  }
  head(b, outputs);
  return b.take();
}

// ResNet-50 with bottlenecks, the stride in the 3 x 3 convolution (as torchvision): 25,557,032
// parameters for 3 channels and 1000 outputs. Samples under 64 x 64 get a 3 x 3 stem without
// pooling.
Layers resnet50(const core::Shape& sample, std::int64_t outputs) {
  Builder b;
  std::string from;
  if (is_thumbnail(sample)) {
    from = b.conv_bn("stem", {{"channels", 64}, {"kernel", 3}, {"pad", 1}}, "relu");
  } else {
    b.conv_bn("stem", {{"channels", 64}, {"kernel", 7}, {"pad", 3}, {"stride", 2}}, "relu");
    from = b.layer("stem_pool", "max_pool", {{"kernel", 3}, {"pad", 1}, {"stride", 2}});
  }
  const int blocks[] = {3, 4, 6, 3};
  for (int stage = 0; stage < 4; ++stage) {
    const double width = 64 << stage;
    for (int block = 0; block < blocks[stage]; ++block) {
      const std::string name = fmt::format("s{}b{}", stage + 1, block + 1);
      const double stride = block == 0 && stage > 0 ? 2 : 1;
      b.conv_bn(name + "_1", {{"channels", width}, {"kernel", 1}}, "relu", {from});
      b.conv_bn(name + "_2", {{"channels", width}, {"kernel", 3}, {"pad", 1}, {"stride", stride}},
                "relu");
      b.conv_bn(name + "_3", {{"channels", 4 * width}, {"kernel", 1}}, "");
      from = join(b, name, from, block == 0, 4 * width, stride);
    }
  }
  head(b, outputs);
  return b.take();
}

// MobileNetV2 (Sandler et al. 2018), width 1: 3,504,872 parameters for 3 channels and 1000 outputs.
// Samples under 64 x 64 keep their extent in the stem and in the second stage.
Layers mobilenet_v2(const core::Shape& sample, std::int64_t outputs) {
  Builder b;
  const bool small = is_thumbnail(sample);
  std::string from = b.conv_bn(
      "stem", {{"channels", 32}, {"kernel", 3}, {"pad", 1}, {"stride", small ? 1 : 2}}, "relu6");
  struct Stage {
    double expansion, channels;
    int blocks;
    double stride;
  };
  const Stage stages[] = {{1, 16, 1, 1}, {6, 24, 2, small ? 1.0 : 2.0},
                          {6, 32, 3, 2}, {6, 64, 4, 2},
                          {6, 96, 3, 1}, {6, 160, 3, 2},
                          {6, 320, 1, 1}};
  double before = 32;
  int stage = 0;
  for (const Stage& s : stages) {
    ++stage;
    for (int block = 0; block < s.blocks; ++block) {
      const std::string name = fmt::format("s{}b{}", stage, block + 1);
      const double stride = block == 0 ? s.stride : 1;
      std::vector<std::string> inputs{from};
      if (s.expansion != 1) {
        b.conv_bn(name + "_expand", {{"channels", s.expansion * before}, {"kernel", 1}}, "relu6",
                  inputs);
        inputs.clear();
      }
      b.conv_bn(name + "_depth", {{"depthwise", 1}, {"kernel", 3}, {"pad", 1}, {"stride", stride}},
                "relu6", inputs);
      std::string out = b.conv_bn(name + "_project", {{"channels", s.channels}, {"kernel", 1}}, "");
      if (stride == 1 && before == s.channels) out = b.layer(name + "_add", "add", {}, {out, from});
      from = out;
      before = s.channels;
    }
  }
  b.conv_bn("last", {{"channels", 1280}, {"kernel", 1}}, "relu6");
  b.layer("gap", "global_average_pool");
  b.layer("dropout", "dropout", {{"p", 0.2}});
  b.layer("output", "linear", {{"features", static_cast<double>(outputs)}});
  return b.take();
}

}  // namespace isaribi::nn::presets

// SPDX-License-Identifier: MIT
// The convolutions of a preset, so that no table of shapes is typed a second time.
#include <cstdio>
#include <map>
#include <set>

#include "step.hpp"

namespace isaribi::perf {

std::string convolutions_json(const std::string& preset, std::int64_t extent, std::int64_t channels,
                              api::Backend& backend) {
  const core::Shape sample{extent, extent, channels};
  nn::GraphOptions options;
  options.allocate = false;
  const nn::Graph graph(model_spec(preset), sample, backend, options);
  std::map<std::string, core::Shape> shapes{{"input", sample}};
  for (std::size_t i = 0; i < graph.layers().size(); ++i)
    shapes[graph.layers()[i]->name()] = graph.layer_shape(i);

  std::string before = "input", json;
  std::set<std::string> seen;
  for (const nn::LayerSpec& spec : nn::preset_layers(preset, sample, 10)) {
    const std::string from = spec.inputs.empty() ? before : spec.inputs.front();
    before = spec.name;
    if (spec.kind != "conv") continue;
    const auto number = [&](const char* key, double fallback) {
      const auto found = spec.numbers.find(key);
      return static_cast<long long>(found == spec.numbers.end() ? fallback : found->second);
    };
    const core::Shape &in = shapes.at(from), &out = shapes.at(spec.name);
    const long long groups = number("depthwise", 0) != 0 ? in[2] : number("groups", 1);
    char text[160];
    std::snprintf(text, sizeof text,
                  "\"h\": %lld, \"i\": %lld, \"o\": %lld, \"k\": %lld, \"s\": %lld, \"p\": %lld, "
                  "\"g\": %lld}",
                  static_cast<long long>(in[0]), static_cast<long long>(in[2]),
                  static_cast<long long>(out[2]), number("kernel", 1), number("stride", 1),
                  number("pad", 0), groups);
    if (!seen.insert(text).second) continue;
    json += (json.empty() ? "[{\"layer\": \"" : ", {\"layer\": \"") + spec.name + "\", " + text;
  }
  return json.empty() ? "[]" : json + "]";
}

}  // namespace isaribi::perf

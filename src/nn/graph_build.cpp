// SPDX-License-Identifier: MIT
// From the deck's list of layers to nodes: names, wiring, shapes, shared weights, fused relus.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "core/error.hpp"
#include "nn/layers/layers.hpp"
#include "nn/options.hpp"
#include "nn/plan.hpp"

namespace isaribi::nn {
namespace {

constexpr const char* kSample = "input";

std::string where(const LayerSpec& spec) {
  return OptionReader(spec).where();
}

// The list with a name for every layer: kind + running number where the deck gives none.
std::vector<LayerSpec> named(std::vector<LayerSpec> specs) {
  std::map<std::string, int> counts;
  std::map<std::string, std::string> places;
  for (LayerSpec& spec : specs) {
    const int number = ++counts[spec.kind];
    if (spec.name.empty()) spec.name = spec.kind + std::to_string(number);
    if (spec.name == kSample || spec.name.find('/') != std::string::npos) {
      throw core::UsageError(
          where(spec) + ": this name cannot be used",
          "'input' is the sample, and '/' separates a layer from its parameters");
    }
    const auto [first, fresh] = places.emplace(spec.name, spec.place);
    if (!fresh) {
      throw core::UsageError(where(spec) + ": the name is taken" +
                                 (first->second.empty() ? "" : ", see " + first->second),
                             "give every layer its own name");
    }
  }
  return specs;
}

// The earlier layer that `spec` refers to as `name`.
int find_earlier(const LayerSpec& spec, const std::string& name, std::size_t index,
                 const std::vector<LayerSpec>& specs, std::string_view role) {
  if (name == kSample && role == "input") return -1;
  std::vector<std::string> earlier{kSample};
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].name != name) {
      if (i < index) earlier.push_back(specs[i].name);
      continue;
    }
    if (i < index) return static_cast<int>(i);
    throw core::UsageError(
        fmt::format("{}: {} '{}' does not come before it", where(spec), role, name),
        "list layers so that each comes after those it uses");
  }
  const std::string near = nearest_name(name, earlier);
  throw core::UsageError(fmt::format("{}: {} '{}' is not a layer", where(spec), role, name),
                         near.empty() ? fmt::format("earlier layers: {}", fmt::join(earlier, ", "))
                                      : fmt::format("did you mean '{}'?", near));
}

void wire(Plan& plan, const std::vector<LayerSpec>& specs) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const LayerSpec& spec = specs[i];
    Node node;
    if (spec.inputs.empty()) {
      node.inputs = {static_cast<int>(i) - 1};
    } else {
      for (const std::string& name : spec.inputs)
        node.inputs.push_back(find_earlier(spec, name, i, specs, "input"));
    }
    const Layer& layer = *plan.layers[i];
    const std::size_t low = layer.min_inputs(), high = layer.max_inputs();
    if (node.inputs.size() < low || node.inputs.size() > high) {
      const std::string expected =
          low == high ? std::to_string(low) : "at least " + std::to_string(low);
      throw core::UsageError(
          fmt::format("{}: {} takes {} input{}, got {}", where(spec), layer.kind(), expected,
                      high == 1 ? "" : "s", node.inputs.size()),
          "inputs = [\"a\", \"b\"] names the layers it reads");
    }
    std::vector<core::Shape> shapes;
    for (const int input : node.inputs) shapes.push_back(plan.shape_of(input));
    node.shape = plan.layers[i]->infer(shapes);
    node.forward_phase = "forward/" + spec.name;
    node.backward_phase = "backward/" + spec.name;
    plan.nodes.push_back(std::move(node));
  }
}

void share(Plan& plan, const std::vector<LayerSpec>& specs) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    Node& node = plan.nodes[i];
    node.owner = static_cast<int>(i);
    const auto shared = specs[i].texts.find("share");
    if (shared == specs[i].texts.end()) continue;
    const int other = find_earlier(specs[i], shared->second, i, specs, "share");
    plan.layers[i]->share_parameters(*plan.layers[static_cast<std::size_t>(other)]);
    node.owner = plan.nodes[static_cast<std::size_t>(other)].owner;
  }
  // Backward visits the last user first: it writes, the others add, the owner finishes.
  std::vector<bool> written(plan.nodes.size(), false);
  for (std::size_t i = plan.nodes.size(); i-- > 0;) {
    Node& node = plan.nodes[i];
    node.accumulates = written[static_cast<std::size_t>(node.owner)];
    written[static_cast<std::size_t>(node.owner)] = true;
  }
}

// Marks relus that the layer before takes over, and views, as idle; gives every other node a value.
void fuse(Plan& plan) {
  std::vector<int> readers(plan.nodes.size(), 0);
  for (const Node& node : plan.nodes) {
    for (const int input : node.inputs) {
      if (input >= 0) ++readers[static_cast<std::size_t>(input)];
    }
  }
  plan.values.assign(1, Value{.elements = plan.sample.count()});
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    Node& node = plan.nodes[i];
    const int before = node.inputs[0];
    if (plan.layers[i]->is_view()) {
      node.idle = true;
    } else if (plan.layers[i]->is_relu() && before >= 0 &&
               !plan.nodes[static_cast<std::size_t>(before)].idle &&
               readers[static_cast<std::size_t>(before)] == 1) {
      node.idle = plan.layers[static_cast<std::size_t>(before)]->fuse_relu();
    }
    if (node.idle) {
      node.value = plan.value_of(before);
      continue;
    }
    node.value = static_cast<int>(plan.values.size());
    plan.values.push_back(Value{.elements = node.shape.count()});
  }
}

void check_all_used(const Plan& plan, const std::vector<LayerSpec>& specs) {
  std::vector<bool> used(specs.size(), false);
  used.back() = true;
  for (const Node& node : plan.nodes) {
    for (const int input : node.inputs) {
      if (input >= 0) used[static_cast<std::size_t>(input)] = true;
    }
  }
  const auto unused = std::find(used.begin(), used.end(), false);
  if (unused == used.end()) return;
  const LayerSpec& spec = specs[static_cast<std::size_t>(unused - used.begin())];
  throw core::UsageError(
      where(spec) + ": no layer reads its output",
      "name it in the inputs of a later layer, or remove it; the last layer is the output");
}

void require_gradients(Plan& plan) {
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    const Node& node = plan.nodes[i];
    if (node.idle) continue;
    bool wanted = !plan.layers[static_cast<std::size_t>(node.owner)]->parameters().empty();
    for (const int input : node.inputs) {
      wanted = wanted || plan.values[static_cast<std::size_t>(plan.value_of(input))].needs_gradient;
    }
    plan.values[static_cast<std::size_t>(node.value)].needs_gradient = wanted;
  }
}

}  // namespace

void build(Plan& plan, const ModelSpec& model) {
  if (!model.preset.empty() && !model.layers.empty()) {
    throw core::UsageError(
        "the model has both a preset ('" + model.preset + "') and layers of its own",
        "give model/preset or [[layer]]s, not both");
  }
  const std::vector<LayerSpec> specs =
      named(model.preset.empty() ? model.layers
                                 : preset_layers(model.preset, plan.sample, model.outputs));
  if (specs.empty()) {
    throw core::UsageError(
        "the model has no layers",
        fmt::format("give [[layer]]s or model/preset: {}", fmt::join(preset_names(), ", ")));
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    plan.layers.push_back(layers::make(specs[i], {.model = model, .index = i}));
  }
  wire(plan, specs);
  check_all_used(plan, specs);
  share(plan, specs);
  fuse(plan);
  require_gradients(plan);
}

}  // namespace isaribi::nn

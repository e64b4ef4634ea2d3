// SPDX-License-Identifier: MIT
#include "nn/graph.hpp"

#include <fmt/format.h>

#include <optional>

#include "core/error.hpp"
#include "nn/initialise.hpp"
#include "nn/plan.hpp"

namespace isaribi::nn {
namespace {

// The piece of `arena` for n samples in the given shape. Offsets and extents are per sample, so
// pieces stay apart for every n up to the largest batch.
core::Tensor view(const core::Tensor& arena, const Piece& piece, std::int64_t max_batch,
                  const core::Shape& sample, std::int64_t n) {
  return arena.slice(piece.offset * max_batch, sample.batched(n));
}

std::optional<core::PhaseTimers::Scope> phase(const Pass& pass, const std::string& name) {
  if (pass.timers == nullptr) return std::nullopt;
  return std::optional<core::PhaseTimers::Scope>(std::in_place, *pass.timers, name);
}

// Numbers the parameters and gives each its range of the flat gradient: the last layer first.
std::vector<Parameter*> list_parameters(Plan& plan) {
  std::vector<Parameter*> list;
  for (const auto& layer : plan.layers) {
    for (Parameter& p : layer->parameters()) {
      p.id = static_cast<std::uint32_t>(list.size());
      list.push_back(&p);
    }
  }
  for (std::size_t i = plan.nodes.size(); i-- > 0;) {
    plan.nodes[i].begin = plan.flat;
    for (const Parameter& p : plan.layers[i]->parameters()) {
      plan.trained += p.shape.count();
      (p.shards.any() ? plan.own : plan.flat) += p.own_shape().count();
    }
    plan.nodes[i].end = plan.flat;
  }
  return list;
}

// Shards what gains by it, except weights that several layers use.
void shard(Plan& plan) {
  if (!plan.options.training || plan.options.sharding.ranks == 1) return;
  std::vector<int> users(plan.nodes.size(), 0);
  for (const Node& node : plan.nodes) ++users[static_cast<std::size_t>(node.owner)];
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    if (users[i] == 1) plan.layers[i]->shard(plan.options.sharding);
  }
}

void allocate_values(Plan& plan, const std::vector<Parameter*>& parameters) {
  for (Parameter* p : parameters) {
    if (p->shards.any()) p->node = plan.options.sharding.node;
    p->value = p->node != nullptr ? core::Tensor(p->shape, plan.options.type, *p->node)
                                  : plan.backend.make(p->shape, plan.options.type);
    const core::Tensor host(p->shape, plan.options.type);
    initialise(p->initialiser, plan.options.seed, p->id, host);
    plan.backend.copy(p->part(host), p->part(p->value));
    plan.backend.synchronize();
  }
}

void allocate_gradients(Plan& plan, core::Tensor& flat) {
  flat = plan.backend.make({plan.flat}, plan.options.gradient_type);
  plan.backend.elementwise().fill({.y = flat, .value = 0.0});
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    std::int64_t offset = plan.nodes[i].begin;
    for (Parameter& p : plan.layers[i]->parameters()) {
      if (p.shards.any()) {
        p.gradient = plan.backend.make(p.own_shape(), plan.options.gradient_type);
        continue;
      }
      p.gradient = flat.slice(offset, p.shape);
      offset += p.shape.count();
    }
  }
}

// What the layer's own backward has left to do for the gradients of its inputs.
void finish_inputs(api::Backend& backend, const Node& node) {
  for (std::size_t j = 0; j < node.inputs.size(); ++j) {
    switch (node.actions[j]) {
      case GradientAction::add:
        backend.elementwise().axpby(
            {.alpha = 1.0, .x = node.dx[j], .beta = 1.0, .y = node.gradients[j]});
        break;
      case GradientAction::add_dy:
        backend.elementwise().axpby(
            {.alpha = 1.0, .x = node.dy_view, .beta = 1.0, .y = node.gradients[j]});
        break;
      case GradientAction::copy_dy:
        backend.copy(node.dy_view, node.gradients[j]);
        break;
      case GradientAction::none:
      case GradientAction::write:
      case GradientAction::write_here:
      case GradientAction::take_over:
      case GradientAction::borrow:
        break;
    }
  }
}

}  // namespace

Graph::Graph(const ModelSpec& model, const core::Shape& sample, api::Backend& backend,
             const GraphOptions& options)
    : plan_(std::make_unique<Plan>(backend, options)) {
  Plan& plan = *plan_;
  plan.sample = sample;
  build(plan, model);
  plan_memory(plan);
  shard(plan);
  parameters_ = list_parameters(plan);
  if (!options.allocate) return;
  for (const auto& layer : plan.layers) layer->prepare(backend, options.max_batch, options.type);
  allocate_values(plan, parameters_);
  plan.activation_arena =
      backend.make({plan.activation_elements * options.max_batch}, options.type);
  if (!options.training) return;
  allocate_gradients(plan, flat_gradient_);
  plan.gradient_arena = backend.make({plan.gradient_elements * options.max_batch}, options.type);
}

Graph::~Graph() = default;

// Makes the views of all tensors for a batch of n; nothing happens while n stays the same.
void Graph::set_batch(std::int64_t n) {
  Plan& plan = *plan_;
  if (n == plan.batch) return;
  const std::int64_t most = plan.options.max_batch;
  const auto activation = [&](int value, const core::Shape& shape) {
    const int piece = plan.values[static_cast<std::size_t>(value)].piece;
    if (piece < 0) return core::Tensor();  // the network input, set by forward
    return view(plan.activation_arena, plan.activations[static_cast<std::size_t>(piece)], most,
                shape, n);
  };
  const auto gradient = [&](int piece, const core::Shape& shape) {
    if (piece < 0 || !plan.gradient_arena.defined()) return core::Tensor();
    return view(plan.gradient_arena, plan.gradients[static_cast<std::size_t>(piece)], most, shape,
                n);
  };
  for (Node& node : plan.nodes) {
    node.y = activation(node.value, node.shape);
    node.dy_view = gradient(node.dy, node.shape);
    node.x.clear();
    node.dx.clear();
    node.gradients.clear();
    for (std::size_t j = 0; j < node.inputs.size(); ++j) {
      const int value = plan.value_of(node.inputs[j]);
      const core::Shape& shape = plan.shape_of(node.inputs[j]);
      node.x.push_back(activation(value, shape));
      node.dx.push_back(gradient(node.temporary.empty() ? -1 : node.temporary[j], shape));
      node.gradients.push_back(
          gradient(plan.values[static_cast<std::size_t>(value)].gradient, shape));
    }
  }
  plan.batch = n;
}

const core::Tensor& Graph::forward(const Pass& pass, const core::Tensor& x) {
  Plan& plan = *plan_;
  const bool fits =
      x.shape().rank() == plan.sample.rank() + 1 && x.shape()[0] <= plan.options.max_batch &&
      x.shape() == plan.sample.batched(x.shape()[0]) && x.dtype() == plan.options.type;
  if (!fits) {
    throw core::ShapeError(
        "network input",
        fmt::format("{} {} with at most {} samples", core::name_of(plan.options.type),
                    plan.sample.batched(plan.options.max_batch).text(), plan.options.max_batch),
        fmt::format("{} {}", core::name_of(x.dtype()), x.shape().text()));
  }
  set_batch(x.shape()[0]);
  Pass p = pass;
  p.backend = &plan.backend;
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    Node& node = plan.nodes[i];
    for (std::size_t j = 0; j < node.inputs.size(); ++j) {
      if (plan.value_of(node.inputs[j]) == 0)
        node.x[j] = x.reshaped(plan.shape_of(node.inputs[j]).batched(plan.batch));
    }
    if (node.idle) {
      if (node.value == 0) node.y = x.reshaped(node.shape.batched(plan.batch));
      continue;
    }
    const auto timed = phase(p, node.forward_phase);
    plan.layers[i]->forward(p, node.x, node.y);
  }
  return plan.nodes.back().y;
}

void Graph::backward(const Pass& pass, const core::Tensor& dy, bool accumulate,
                     const Ready& ready) {
  Plan& plan = *plan_;
  if (!plan.gradient_arena.defined())
    throw core::InternalError("backward of a graph without gradient memory");
  const Node& last = plan.nodes.back();
  const int piece = plan.values[static_cast<std::size_t>(last.value)].gradient;
  if (dy.shape() != last.y.shape() || dy.dtype() != plan.options.type) {
    throw core::ShapeError("gradient of the network output", last.y.shape().text(),
                           dy.shape().text());
  }
  Pass p = pass;
  p.backend = &plan.backend;
  if (piece >= 0) {  // a copy, since layers may change their dy in place
    plan.backend.copy(dy, view(plan.gradient_arena, plan.gradients[static_cast<std::size_t>(piece)],
                               plan.options.max_batch, last.shape, plan.batch));
  }
  for (std::size_t i = plan.nodes.size(); i-- > 0;) {
    Node& node = plan.nodes[i];
    if (!node.idle && node.dy >= 0) {
      const auto timed = phase(p, node.backward_phase);
      plan.layers[i]->backward(p, node.x, node.y, node.dy_view, node.dx,
                               accumulate || node.accumulates);
      finish_inputs(plan.backend, node);
    }
    if (ready && node.end > node.begin) ready(node.begin, node.end);
  }
}

std::vector<core::NamedTensor> Graph::state() const {
  std::vector<core::NamedTensor> all;
  for (const auto& layer : plan_->layers) {
    for (core::NamedTensor& tensor : layer->state()) all.push_back(std::move(tensor));
  }
  return all;
}

const core::Shape& Graph::output_sample_shape() const {
  return plan_->nodes.back().shape;
}
std::int64_t Graph::parameter_count() const {
  return plan_->trained;
}
std::span<const std::unique_ptr<Layer>> Graph::layers() const {
  return plan_->layers;
}
const core::Shape& Graph::layer_shape(std::size_t i) const {
  return plan_->nodes.at(i).shape;
}

Graph::Memory Graph::memory() const {
  const Plan& plan = *plan_;
  const auto batch = static_cast<std::size_t>(plan.options.max_batch);
  const auto trained = static_cast<std::size_t>(plan.trained);
  const std::size_t bytes = core::size_of(plan.options.type);
  Memory memory;
  memory.activations = static_cast<std::size_t>(plan.activation_elements) * batch * bytes;
  memory.activation_gradients = static_cast<std::size_t>(plan.gradient_elements) * batch * bytes;
  memory.parameters = trained * bytes;
  if (plan.options.training)
    memory.gradients =
        static_cast<std::size_t>(plan.flat + plan.own) * core::size_of(plan.options.gradient_type);
  for (const auto& layer : plan.layers)
    memory.workspaces += layer->workspace_bytes(plan.options.max_batch);
  return memory;
}

std::size_t Graph::shared_bytes(bool one_node) const {
  const std::size_t width = core::size_of(plan_->options.type);
  std::size_t bytes = 0;
  for (const Parameter* p : parameters_) {
    if (p->shards.any())
      bytes += comm::NodeMemory::bytes_of(static_cast<std::size_t>(p->shape.count()) * width);
  }
  if (one_node) {
    for (const auto& layer : plan_->layers) bytes += layer->shared_bytes(width);
  }
  return bytes;
}

std::size_t shared_bytes(const ModelSpec& model, const core::Shape& sample, api::Backend& backend,
                         GraphOptions options, bool one_node) {
  options.allocate = false;
  return Graph(model, sample, backend, options).shared_bytes(one_node);
}

std::vector<CurvedLayer> Graph::curved_layers() const {
  const Plan& plan = *plan_;
  std::vector<int> readers(plan.nodes.size(), 0), norms(plan.nodes.size(), 0);
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    for (const int input : plan.nodes[i].inputs) {
      if (input < 0) continue;
      ++readers[static_cast<std::size_t>(input)];
      norms[static_cast<std::size_t>(input)] += plan.layers[i]->kind() == "batch_norm";
    }
  }
  std::vector<CurvedLayer> found;
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    Layer& layer = *plan.layers[i];
    std::optional<Curvature> curvature = layer.curvature();
    if (!curvature && layer.parameters().empty()) continue;
    found.push_back({.layer = &layer,
                     .curvature = curvature,
                     .normalised = readers[i] > 0 && readers[i] == norms[i]});
  }
  return found;
}

void Graph::set_tap(CurvatureTap* tap) {
  for (const auto& layer : plan_->layers) layer->set_tap(tap);
}

}  // namespace isaribi::nn

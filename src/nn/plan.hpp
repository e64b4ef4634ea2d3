// SPDX-License-Identifier: MIT
// What the graph knows after it was built: who reads what, which memory every value and gradient
// has, and what backward does with each gradient. Internal to nn.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nn/graph.hpp"
#include "nn/layer.hpp"

namespace isaribi::nn {

/// What backward does for one input of one layer. The first layer that reaches a value writes its
/// gradient, later ones add to it.
enum class GradientAction : std::uint8_t {
  none,        ///< nobody upstream has parameters
  write,       ///< the layer writes the input's gradient
  write_here,  ///< the same, over dy (GradientFlow::in_place)
  add,         ///< the layer writes to a temporary buffer, which is then added
  take_over,   ///< dy becomes the input's gradient (pass_through)
  borrow,      ///< the input's gradient is dy, which another input has taken over and changes later
  copy_dy,     ///< dy is copied
  add_dy,      ///< dy is added
};

/// A piece of the arenas: `elements` per sample, used from step `first` to step `last`.
struct Piece {
  std::int64_t elements = 0;
  int first = 0, last = 0;
  std::int64_t offset = 0;  ///< per sample; filled in by place()
};

/// Gives pieces whose spans of steps overlap disjoint offsets; returns the arena's elements.
/// Largest first, lowest free offset (greedy by size: Pisarchyk & Lee 2020).
std::int64_t place(std::vector<Piece>& pieces);

/// One tensor of activations. Value 0 is the network input; flatten and fused relus own none.
struct Value {
  std::int64_t elements = 0;  ///< per sample
  int piece = -1;             ///< of the activation arena; -1 for the input
  int gradient = -1;          ///< piece of the gradient arena that holds its gradient last
  bool needs_gradient = false;
  bool borrowed = false;  ///< its gradient is read only: GradientAction::borrow
};

/// One layer in the graph.
struct Node {
  std::vector<int> inputs;   ///< nodes that are read, in the layer's order; -1: the sample
  int value = -1;            ///< what it writes (or is a view of)
  core::Shape shape;         ///< of one output sample
  bool idle = false;         ///< a view, or fused into the layer before
  int owner = -1;            ///< node whose parameters it uses; itself when it has its own
  bool accumulates = false;  ///< a later layer has already written the shared gradient in this pass
  std::int64_t begin = 0, end = 0;  ///< its range of the flat gradient; empty if it is sharded
  std::vector<GradientAction> actions;
  int dy = -1;                 ///< piece of the gradient arena
  std::vector<int> temporary;  ///< pieces for `write`, `write_here`, `add`
  std::string forward_phase, backward_phase;

  // Views for the current batch size.
  std::vector<core::Tensor> x, dx, gradients;  ///< gradients: where the inputs' gradients end up
  core::Tensor y, dy_view;
};

struct Plan {
  explicit Plan(api::Backend& backend_, const GraphOptions& options_)
      : backend(backend_), options(options_) {}

  api::Backend& backend;
  GraphOptions options;
  core::Shape sample;
  std::vector<std::unique_ptr<Layer>> layers;
  std::vector<Node> nodes;  ///< nodes[i] belongs to layers[i]
  std::vector<Value> values;
  std::vector<Piece> activations, gradients;
  std::int64_t activation_elements = 0, gradient_elements = 0;  ///< per sample
  std::int64_t trained = 0, flat = 0, own = 0;  ///< scalars: all; of the flat gradient; of rows of
                                                ///< sharded parameters that this rank owns
  core::Tensor activation_arena, gradient_arena;
  std::int64_t batch = -1;  ///< that the views are for
  std::vector<core::Tensor> parameter_memory;

  /// Input value of input j of node i, and the shape in which the node sees it.
  int value_of(int node) const {
    return node < 0 ? 0 : nodes[static_cast<std::size_t>(node)].value;
  }
  const core::Shape& shape_of(int node) const {
    return node < 0 ? sample : nodes[static_cast<std::size_t>(node)].shape;
  }
};

/// Layers, wiring, shapes, fusion and shared weights of `model` (graph_build.cpp).
void build(Plan& plan, const ModelSpec& model);
/// Pieces of activations and gradients, and what backward does (graph_memory.cpp).
void plan_memory(Plan& plan);

}  // namespace isaribi::nn

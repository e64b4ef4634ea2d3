// SPDX-License-Identifier: MIT
// Where activations and their gradients live. Step i is forward of node i; backward of node i is
// step 2 n - 1 - i. When training, every activation is kept until its layer's backward; gradients
// share memory as soon as their time is over.
#include <algorithm>
#include <numeric>

#include "nn/plan.hpp"

namespace isaribi::nn {
namespace {

constexpr std::int64_t kAlign = 16;  // elements: 64 bytes of f32

int add_piece(std::vector<Piece>& pieces, std::int64_t elements, int step) {
  pieces.push_back(
      {.elements = (elements + kAlign - 1) / kAlign * kAlign, .first = step, .last = step});
  return static_cast<int>(pieces.size()) - 1;
}

void plan_activations(Plan& plan) {
  const int n = static_cast<int>(plan.nodes.size());
  for (int i = 0; i < n; ++i) {
    const Node& node = plan.nodes[static_cast<std::size_t>(i)];
    for (const int input : node.inputs) {
      const int piece = plan.values[static_cast<std::size_t>(plan.value_of(input))].piece;
      if (piece < 0) continue;
      int& last = plan.activations[static_cast<std::size_t>(piece)].last;
      last = std::max(last, i);
    }
    if (node.idle) continue;
    Value& value = plan.values[static_cast<std::size_t>(node.value)];
    value.piece = add_piece(plan.activations, value.elements, i);
    if (plan.options.training) plan.activations.back().last = 2 * n;
  }
  const int output = plan.values[static_cast<std::size_t>(plan.nodes.back().value)].piece;
  if (output >= 0) plan.activations[static_cast<std::size_t>(output)].last = 2 * n;
  plan.activation_elements = place(plan.activations);
}

// Readers and writer of a value, by node.
struct Use {
  int producer = -1;
  bool relu = false;  ///< the producer has taken over a relu
  std::vector<int> readers;
};

std::vector<Use> uses_of(const Plan& plan) {
  std::vector<Use> uses(plan.values.size());
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    const Node& node = plan.nodes[i];
    Use& own = uses[static_cast<std::size_t>(node.value)];
    if (node.idle) {
      own.relu = own.relu || plan.layers[i]->is_relu();
      continue;
    }
    own.producer = static_cast<int>(i);
    for (const int input : node.inputs) {
      uses[static_cast<std::size_t>(plan.value_of(input))].readers.push_back(static_cast<int>(i));
    }
  }
  return uses;
}

// Residual connections: the gradient of y = a + b is dy for both. The input whose producer comes
// later in the forward pass, and so is done with dy first in backward, may read it where it is
// while the other one owns it, provided that nobody changes dy until then. Returns the index of the
// input that borrows, or -1.
int borrower(const Plan& plan, const std::vector<Use>& uses, int i) {
  const Node& node = plan.nodes[static_cast<std::size_t>(i)];
  if (plan.layers[static_cast<std::size_t>(i)]->gradient_flow() != GradientFlow::pass_through)
    return -1;
  const auto use = [&](int j) -> const Use& {
    return uses[static_cast<std::size_t>(plan.value_of(node.inputs[static_cast<std::size_t>(j)]))];
  };
  const int late = use(0).producer > use(1).producer ? 0 : 1, early = 1 - late;
  for (const int j : {late, early}) {
    const Value& value = plan.values[static_cast<std::size_t>(
        plan.value_of(node.inputs[static_cast<std::size_t>(j)]))];
    if (!value.needs_gradient || value.gradient >= 0) return -1;
  }
  const Use& reader = use(late);
  if (reader.producer < 0 || reader.relu || reader.readers.size() != 1) return -1;
  if (plan.layers[static_cast<std::size_t>(reader.producer)]->gradient_flow() ==
      GradientFlow::pass_through)
    return -1;
  for (const int other : use(early).readers) {
    if (other != i && other >= reader.producer) return -1;
  }
  return late;
}

// Decides what happens to the gradient of input j of node i, whose dy is in piece node.dy.
void plan_input(Plan& plan, int i, std::size_t j, bool borrows, int step) {
  Node& node = plan.nodes[static_cast<std::size_t>(i)];
  Value& value = plan.values[static_cast<std::size_t>(plan.value_of(node.inputs[j]))];
  GradientAction& action = node.actions[j];
  if (!value.needs_gradient) return;
  const GradientFlow flow = plan.layers[static_cast<std::size_t>(i)]->gradient_flow();
  if (value.gradient >= 0) {  // another layer has written: add
    plan.gradients[static_cast<std::size_t>(value.gradient)].last = step;
    action = flow == GradientFlow::pass_through ? GradientAction::add_dy : GradientAction::add;
    if (action == GradientAction::add)
      node.temporary[j] = add_piece(plan.gradients, value.elements, step);
    return;
  }
  const bool taken = std::find(node.actions.begin(), node.actions.end(),
                               GradientAction::take_over) != node.actions.end();
  const bool own_dy = !plan.values[static_cast<std::size_t>(node.value)].borrowed;
  if (borrows) {
    action = GradientAction::borrow;
    value.gradient = node.dy;
    value.borrowed = true;
  } else if (flow == GradientFlow::pass_through && !taken) {
    action = GradientAction::take_over;
    value.gradient = node.dy;
  } else if (flow == GradientFlow::in_place && own_dy) {
    action = GradientAction::write_here;
    value.gradient = node.temporary[j] = node.dy;
  } else {
    action = flow == GradientFlow::pass_through ? GradientAction::copy_dy : GradientAction::write;
    value.gradient = node.temporary[j] = add_piece(plan.gradients, value.elements, step);
  }
}

void plan_gradients(Plan& plan) {
  const int n = static_cast<int>(plan.nodes.size());
  Value& output = plan.values[static_cast<std::size_t>(plan.nodes.back().value)];
  if (!output.needs_gradient) return;
  output.gradient = add_piece(plan.gradients, output.elements, n - 1);
  const std::vector<Use> uses = uses_of(plan);
  for (int i = n - 1; i >= 0; --i) {
    Node& node = plan.nodes[static_cast<std::size_t>(i)];
    const Value& value = plan.values[static_cast<std::size_t>(node.value)];
    node.actions.assign(node.inputs.size(), GradientAction::none);
    node.temporary.assign(node.inputs.size(), -1);
    if (node.idle || !value.needs_gradient) continue;
    const int step = 2 * n - 1 - i;
    node.dy = value.gradient;
    plan.gradients[static_cast<std::size_t>(node.dy)].last = step;
    const int borrows = borrower(plan, uses, i);
    for (std::size_t j = 0; j < node.inputs.size(); ++j) {
      plan_input(plan, i, j, static_cast<int>(j) == borrows, step);
    }
  }
  plan.gradient_elements = place(plan.gradients);
}

}  // namespace

std::int64_t place(std::vector<Piece>& pieces) {
  std::vector<std::size_t> order(pieces.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return pieces[a].elements > pieces[b].elements;
  });
  std::vector<std::size_t> placed;  // by offset
  std::int64_t total = 0;
  for (const std::size_t k : order) {
    Piece& piece = pieces[k];
    piece.offset = 0;
    for (const std::size_t other : placed) {
      const Piece& p = pieces[other];
      const bool together = p.first <= piece.last && piece.first <= p.last;
      if (!together || p.offset + p.elements <= piece.offset) continue;
      if (p.offset >= piece.offset + piece.elements) break;  // the gap before p is wide enough
      piece.offset = p.offset + p.elements;
    }
    const auto at = std::upper_bound(
        placed.begin(), placed.end(), piece.offset,
        [&](std::int64_t offset, std::size_t other) { return offset < pieces[other].offset; });
    placed.insert(at, k);
    total = std::max(total, piece.offset + piece.elements);
  }
  return total;
}

void plan_memory(Plan& plan) {
  plan_activations(plan);
  if (plan.options.training) plan_gradients(plan);
}

}  // namespace isaribi::nn

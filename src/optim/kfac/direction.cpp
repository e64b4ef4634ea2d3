// SPDX-License-Identifier: MIT
#include "optim/kfac/direction.hpp"

namespace isaribi::optim::kfac {
namespace {

using core::Tensor;

/// Weight and bias as the columns of one matrix.
std::vector<Tensor> columns_of(const Block& block, const Tensor& weight, const Tensor& bias) {
  const std::int64_t rows = block.shape.groups * block.shape.outputs;
  std::vector<Tensor> parts{weight.reshaped({rows, block.shape.inputs})};
  if (bias.defined()) parts.push_back(bias.reshaped({rows, 1}));
  return parts;
}

/// The matrices of one group.
struct Group {
  Tensor gradient, direction, scratch;
};

Group group_of(const Block& block, std::int64_t k) {
  const core::Shape shape{block.shape.groups, block.shape.outputs, block.columns()};
  const auto of = [&](const Tensor& t) { return Block::group(t.reshaped(shape), k); };
  return {of(block.gradient), of(block.direction), of(block.scratch)};
}

/// The directions of the parameters as columns of one matrix.
std::vector<Tensor> parts_of(const Block& block, std::span<const Tensor> directions) {
  const nn::Parameter* bias = block.shape.bias;
  return columns_of(block, directions[block.shape.weight->id],
                    bias != nullptr ? directions[bias->id] : Tensor());
}

/// block.gradient as what is gathered from weight and bias. A norm's follow each other as the
/// columns of one row would.
api::Concat gradient_of(const Block& block, std::span<const double> decay) {
  const std::int64_t rows = block.affine() ? block.shape.groups * block.shape.outputs : 1;
  api::Concat args;
  args.y = block.gradient.reshaped({rows, block.gradient.count() / rows});
  for (const nn::Parameter* p : {block.shape.weight, block.shape.bias}) {
    if (p == nullptr) continue;
    const core::Shape columns{rows, p->value.count() / rows};
    args.parts.push_back(p->gradient.reshaped(columns));
    if (decay.empty()) continue;
    args.addends.push_back(p->value.reshaped(columns));
    args.scales.push_back(decay[p->id]);
  }
  return args;
}

api::Concat rows_of(api::Concat args, std::int64_t begin, std::int64_t end) {
  args.y = args.y.rows(begin, end);
  for (Tensor& t : args.parts) t = t.rows(begin, end);
  for (Tensor& t : args.addends) t = t.rows(begin, end);
  return args;
}

bool by_inverses(const Block& block) {
  return block.affine() && block.inverse.g.defined() && !block.inverse.divisors.defined();
}

void precondition_foof(Block& block, api::Backend& backend) {
  for (std::int64_t k = 0; k < block.shape.groups; ++k) {
    const Group group = group_of(block, k);
    backend.linalg().gemm(
        {.a = group.gradient, .b = Block::group(block.inverse.a, k), .c = group.direction});
  }
}

void precondition_eigen(Block& block, api::Backend& backend) {
  auto& linalg = backend.linalg();
  for (std::int64_t k = 0; k < block.shape.groups; ++k) {
    const auto [gradient, out, half] = group_of(block, k);
    const Tensor a = Block::group(block.inverse.a, k), g = Block::group(block.inverse.g, k);
    linalg.gemm({.a = gradient, .b = a, .c = half});
    linalg.gemm({.a = g, .b = half, .c = out, .transpose_a = true});
    backend.elementwise().multiply(
        {.a = out, .b = Block::group(block.inverse.divisors, k), .y = out});
    linalg.gemm({.a = out, .b = a, .c = half, .transpose_b = true});
    linalg.gemm({.a = g, .b = half, .c = out});
  }
}

template <typename T>
void solve_norm(const double* fisher, std::int64_t channels, double lambda, const T* gradient,
                T* direction) {
  for (std::int64_t c = 0; c < channels; ++c) {
    const double f11 = fisher[c] + lambda, f12 = fisher[channels + c],
                 f22 = fisher[2 * channels + c] + lambda, determinant = f11 * f22 - f12 * f12;
    const double scale = gradient[c], shift = gradient[channels + c];
    direction[c] = static_cast<T>((f22 * scale - f12 * shift) / determinant);
    direction[channels + c] = static_cast<T>((f11 * shift - f12 * scale) / determinant);
  }
}

// 2 x 2 systems are too small for a device: they are solved on the host.
void precondition_norm(Block& block, double lambda, api::Backend& backend) {
  Tensor gradient(block.gradient.shape(), block.gradient.dtype());
  const Tensor direction(block.gradient.shape(), block.gradient.dtype());
  backend.copy(block.gradient, gradient);
  backend.synchronize();
  const double* fisher = block.inverse.norm.data<double>();
  if (gradient.dtype() == core::DType::f64) {
    solve_norm(fisher, block.shape.outputs, lambda, gradient.data<double>(),
               direction.data<double>());
  } else {
    solve_norm(fisher, block.shape.outputs, lambda, gradient.data<float>(),
               direction.data<float>());
  }
  backend.copy(direction, block.direction);
  backend.synchronize();
}

}  // namespace

LayerDirections::LayerDirections(std::vector<Block*> blocks, std::span<const Tensor> directions,
                                 api::Backend& backend)
    : directions_(directions.begin(), directions.end()), backend_(backend) {
  for (Block* block : blocks) {
    const bool columns = block->affine() && !directions.empty();
    layers_.push_back({block, {}, columns ? parts_of(*block, directions) : std::vector<Tensor>{}});
  }
  plan();
}

void LayerDirections::set_decay(std::span<const double> decay) {
  decay_.assign(decay.begin(), decay.end());
  plan();
}

void LayerDirections::plan() {
  std::vector<api::KroneckerProduct> products;
  for (Layer& layer : layers_) {
    layer.gradient = gradient_of(*layer.block, decay_);
    if (by_inverses(*layer.block)) list_products(layer, products);
  }
  products_ = backend_.plan_kronecker(std::move(products));
}

void LayerDirections::list_products(const Layer& layer,
                                    std::vector<api::KroneckerProduct>& products) {
  const Block& block = *layer.block;
  for (std::int64_t k = 0; k < block.shape.groups; ++k) {
    const Group group = group_of(block, k);
    const std::int64_t begin = k * block.shape.outputs, end = begin + block.shape.outputs;
    products.push_back({.left = Block::group(block.inverse.g, k),
                        .x = group.gradient,
                        .right = Block::group(block.inverse.a, k),
                        .half = group.scratch,
                        .y = group.direction,
                        .gather = rows_of(layer.gradient, begin, end)});
    for (const Tensor& part : layer.parts) products.back().parts.push_back(part.rows(begin, end));
  }
}

void LayerDirections::run(double lambda) {
  products_->run();
  auto product = products_->products().begin();
  for (const Layer& layer : layers_) {
    Block& block = *layer.block;
    if (by_inverses(block)) {
      block.product = 0;
      for (std::int64_t k = 0; k < block.shape.groups; ++k) block.product += (product++)->inner;
      continue;
    }
    backend_.elementwise().concat(layer.gradient);
    if (!block.affine()) {
      precondition_norm(block, lambda, backend_);
    } else if (block.inverse.g.defined()) {
      precondition_eigen(block, backend_);
    } else {
      precondition_foof(block, backend_);
    }
    block.product = backend_.elementwise().dot(block.gradient, block.direction);
    if (!directions_.empty()) hand_out(block, directions_, backend_);
  }
}

void LayerDirections::collect() {
  if (directions_.empty()) return;
  for (const Layer& layer : layers_) {
    if (by_inverses(*layer.block))
      backend_.elementwise().concat({.parts = layer.parts, .y = layer.block->direction});
  }
}

void hand_out(const Block& block, std::span<const Tensor> directions, api::Backend& backend) {
  const Tensor& weight = directions[block.shape.weight->id];
  if (!block.affine()) {
    const Tensor& bias = directions[block.shape.bias->id];
    backend.copy(block.direction.slice(0, weight.shape()), weight);
    backend.copy(block.direction.slice(weight.count(), bias.shape()), bias);
    return;
  }
  const std::vector<Tensor> parts = parts_of(block, directions);
  if (parts.size() == 1) {
    backend.copy(block.direction.reshaped(weight.shape()), weight);
  } else {
    backend.elementwise().split({.x = block.direction, .parts = parts});
  }
}

}  // namespace isaribi::optim::kfac

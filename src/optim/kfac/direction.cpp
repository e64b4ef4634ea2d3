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

void precondition_affine(Block& block, api::Backend& backend) {
  const std::int64_t groups = block.shape.groups, rows = block.shape.outputs,
                     columns = block.columns();
  const core::Shape grouped{groups, rows, columns};
  const Tensor gradient = block.gradient.reshaped(grouped), u = block.direction.reshaped(grouped),
               scratch = block.scratch.reshaped(grouped);
  const Inverse& inverse = block.inverse;
  auto& linalg = backend.linalg();
  const bool eigen = inverse.divisors.defined();
  for (std::int64_t k = 0; k < groups; ++k) {
    const Tensor half = Block::group(scratch, k), out = Block::group(u, k),
                 a = Block::group(inverse.a, k);
    if (!inverse.g.defined()) {  // FOOF
      linalg.gemm({.a = Block::group(gradient, k), .b = a, .c = out});
      continue;
    }
    const Tensor g = Block::group(inverse.g, k);
    linalg.gemm({.a = Block::group(gradient, k), .b = a, .c = half});
    linalg.gemm({.a = g, .b = half, .c = out, .transpose_a = eigen});
    if (!eigen) continue;
    backend.elementwise().multiply({.a = out, .b = Block::group(inverse.divisors, k), .y = out});
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

void collect_gradient(Block& block, std::span<const double> decay, api::Backend& backend) {
  // A norm's parameters follow each other as the columns of one row would.
  const bool affine = block.affine();
  const std::int64_t rows = affine ? block.shape.groups * block.shape.outputs : 1;
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
  backend.elementwise().concat(args);
}

void precondition(Block& block, double lambda, api::Backend& backend) {
  if (block.affine()) {
    precondition_affine(block, backend);
  } else {
    precondition_norm(block, lambda, backend);
  }
  block.product = backend.elementwise().dot(block.gradient, block.direction);
}

void hand_out(const Block& block, const Tensor& weight, const Tensor& bias, api::Backend& backend) {
  if (!block.affine()) {
    backend.copy(block.direction.slice(0, weight.shape()), weight);
    backend.copy(block.direction.slice(weight.count(), bias.shape()), bias);
  } else if (!bias.defined()) {
    backend.copy(block.direction.reshaped(weight.shape()), weight);
  } else {
    backend.elementwise().split({.x = block.direction, .parts = columns_of(block, weight, bias)});
  }
}

}  // namespace isaribi::optim::kfac

// SPDX-License-Identifier: MIT
#include "optim/kfac/direction.hpp"

namespace isaribi::optim::kfac {
namespace {

using core::Tensor;

/// y = x in the type of y.
void convert(const Tensor& x, const Tensor& y, api::Backend& backend) {
  if (x.dtype() == y.dtype()) {
    backend.copy(x, y);
  } else {
    backend.elementwise().axpby({.alpha = 1.0, .x = x, .beta = 0.0, .y = y});
  }
}

/// `t` in the type of the weights: itself, or in the room from element `first` of `scratch` on.
Tensor narrowed(const Tensor& t, const Tensor& scratch, std::int64_t first, api::Backend& backend) {
  if (t.dtype() == scratch.dtype()) return t;
  const Tensor out = scratch.reshaped({scratch.count()}).slice(first, t.shape());
  convert(t, out, backend);
  return out;
}

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

void collect_gradient(Block& block, api::Backend& backend) {
  const Tensor& weight = block.shape.weight->gradient;
  if (!block.affine()) {
    const Tensor& shift = block.shape.bias->gradient;
    convert(weight, block.gradient.slice(0, weight.shape()), backend);
    convert(shift, block.gradient.slice(weight.count(), shift.shape()), backend);
  } else if (block.shape.bias == nullptr) {
    convert(weight, block.gradient.reshaped(weight.shape()), backend);
  } else {
    const Tensor w = narrowed(weight, block.scratch, 0, backend);
    const Tensor b = narrowed(block.shape.bias->gradient, block.scratch, weight.count(), backend);
    backend.elementwise().concat({.parts = columns_of(block, w, b), .y = block.gradient});
  }
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

// SPDX-License-Identifier: MIT
// Launchers of the elementwise operations; what happens to one element is in bodies.hpp.
#include <cmath>
#include <limits>

#include "backends/cuda/bodies.hpp"
#include "backends/cuda/for_each.cuh"
#include "backends/cuda/kernels.hpp"

namespace isaribi::cuda {
namespace {

using core::DType;
using core::Tensor;

template <typename T>
void fill_with(const Tensor& y, T value, cudaStream_t stream) {
  for_each(y.count(), FillBody<T>{address<T>(y), value}, stream, "fill");
}

// As a cast does: to nearest even, then saturated; NaN becomes 0.
template <typename T>
T to_integer(double value) {
  if (std::isnan(value)) return 0;
  const double low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
  return static_cast<T>(std::nearbyint(value < low ? low : (value > high ? high : value)));
}

}  // namespace

void launch(const api::ActivationForward& args, cudaStream_t stream) {
  with_real(args.x.dtype(), [&](auto zero) {
    const ActivationForwardBody<decltype(zero)> body(args);
    for_each(args.y.count(), body, stream, "activation_forward");
  });
}

void launch(const api::ActivationBackward& args, cudaStream_t stream) {
  with_real(args.dy.dtype(), [&](auto zero) {
    const ActivationBackwardBody<decltype(zero)> body(args);
    for_each(args.dx.count(), body, stream, "activation_backward");
  });
}

void launch(const api::Add& args, cudaStream_t stream) {
  with_real(args.a.dtype(), [&](auto zero) {
    for_each(args.y.count(), AddBody<decltype(zero)>(args), stream, "add");
  });
}

void launch(const api::Axpby& args, cudaStream_t stream) {
  with_real(args.x.dtype(), [&](auto x) {
    with_real(args.y.dtype(), [&](auto y) {
      for_each(args.y.count(), AxpbyBody<decltype(x), decltype(y)>(args), stream, "axpby");
    });
  });
}

void launch(const api::Fill& args, cudaStream_t stream) {
  const double value = args.value;
  const Tensor& y = args.y;
  switch (y.dtype()) {
    case DType::f64:
      return fill_with<double>(y, value, stream);
    case DType::f32:
      return fill_with<float>(y, static_cast<float>(value), stream);
    case DType::f16:
      return fill_with(y, core::Half(static_cast<float>(value)).bits, stream);
    case DType::bf16:
      return fill_with(y, core::BFloat16(static_cast<float>(value)).bits, stream);
    case DType::i8:
      return fill_with(y, to_integer<std::int8_t>(value), stream);
    case DType::u8:
      return fill_with(y, to_integer<std::uint8_t>(value), stream);
    case DType::i32:
      return fill_with(y, to_integer<std::int32_t>(value), stream);
  }
}

void launch(const api::AddBias& args, cudaStream_t stream) {
  with_real(args.x.dtype(), [&](auto zero) {
    for_each(args.y.count(), AddBiasBody<decltype(zero)>(args), stream, "add_bias");
  });
}

}  // namespace isaribi::cuda

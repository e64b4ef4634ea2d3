// SPDX-License-Identifier: MIT
// Elementwise operations, concatenation and small reductions.
#include <algorithm>
#include <vector>

#include "backends/reference/activation.hpp"
#include "backends/reference/convert.hpp"
#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

/// y[i] = value(i) for every element.
template <typename T, typename Value>
void for_each_element(const core::Tensor& y, const Value& value) {
  T* out = y.data<T>();
#pragma omp parallel for
  for (std::int64_t i = 0; i < y.count(); ++i) out[i] = static_cast<T>(value(i));
}

template <typename T>
void run_activation_backward(const api::ActivationBackward& a) {
  const bool reads_x = a.kind == api::Activation::swish;
  const bool reads_y = !reads_x && a.kind != api::Activation::none;
  const T* x = reads_x ? a.x.data<T>() : nullptr;
  const T* y = reads_y ? a.y.data<T>() : nullptr;
  const T* dy = a.dy.data<T>();
  for_each_element<T>(a.dx, [&](std::int64_t i) {
    return dy[i] * slope(a.kind, reads_x ? x[i] : 0.0, reads_y ? y[i] : 0.0);
  });
}

template <typename T, typename G>
void run_bias_gradient(const api::BiasGradient& a) {
  const View<T> dy(a.dy.reshaped({rows(a.dy), channels(a.dy)}));
  for_each_element<G>(a.db, [&](std::int64_t c) {
    double sum = a.accumulate ? static_cast<double>(a.db.data<G>()[c]) : 0.0;
    for (std::int64_t r = 0; r < rows(a.dy); ++r) sum += dy(r, c);
    return sum;
  });
}

/// y[.., offset + c] = part[.., c] + scale addend[.., c].
template <typename T, typename P>
void run_join(const core::Tensor& y, std::int64_t offset, const core::Tensor& part, double scale,
              const core::Tensor& addend) {
  const std::int64_t c = channels(part);
  for (std::int64_t i = 0; i < part.count(); ++i) {
    const double added = addend.defined() ? scale * static_cast<double>(addend.data<T>()[i]) : 0.0;
    y.data<T>()[i / c * channels(y) + offset + i % c] =
        static_cast<T>(static_cast<double>(part.data<P>()[i]) + added);
  }
}

template <typename T>
void run_split(const api::Split& a) {
  std::int64_t offset = 0;
  for (const core::Tensor& part : a.parts) {
    for (std::int64_t r = 0; r < rows(a.x); ++r)
      std::copy_n(a.x.data<T>() + r * channels(a.x) + offset, channels(part),
                  part.data<T>() + r * channels(part));
    offset += channels(part);
  }
}

}  // namespace

void Elementwise::do_activation_forward(const api::ActivationForward& a) {
  with_real(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    for_each_element<T>(a.y, [&](std::int64_t i) { return activate(a.kind, a.x.data<T>()[i]); });
  });
}

void Elementwise::do_activation_backward(const api::ActivationBackward& a) {
  with_real(a.dy.dtype(), [&](auto t) { run_activation_backward<decltype(t)>(a); });
}

void Elementwise::do_add(const api::Add& a) {
  with_real(a.y.dtype(), [&](auto t) {
    using T = decltype(t);
    for_each_element<T>(a.y, [&](std::int64_t i) {
      return activate(a.activation, static_cast<double>(a.a.data<T>()[i]) + a.b.data<T>()[i]);
    });
  });
}

void Elementwise::do_multiply(const api::Multiply& a) {
  with_real(a.y.dtype(), [&](auto t) {
    using T = decltype(t);
    for_each_element<T>(a.y, [&](std::int64_t i) {
      return static_cast<double>(a.a.data<T>()[i]) * a.b.data<T>()[i];
    });
  });
}

void Elementwise::do_axpby(const api::Axpby& a) {
  with_real(a.x.dtype(), [&](auto tx) {
    with_real(a.y.dtype(), [&](auto ty) {
      const auto* x = a.x.data<decltype(tx)>();
      const auto* y = a.y.data<decltype(ty)>();
      for_each_element<decltype(ty)>(a.y, [&](std::int64_t i) {
        return a.alpha * x[i] + (a.beta == 0.0 ? 0.0 : a.beta * y[i]);
      });
    });
  });
}

void Elementwise::do_fill(const api::Fill& a) {
  with_any(a.y.dtype(), [&](auto t) {
    using T = decltype(t);
    std::fill_n(a.y.data<T>(), a.y.count(), from_double<T>(a.value));
  });
}

void Elementwise::do_add_bias(const api::AddBias& a) {
  with_real(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    const std::int64_t c = channels(a.x);
    for_each_element<T>(a.y, [&](std::int64_t i) {
      return static_cast<double>(a.x.data<T>()[i]) + a.bias.data<T>()[i % c];
    });
  });
}

void Elementwise::do_bias_gradient(const api::BiasGradient& a) {
  with_real(a.dy.dtype(), [&](auto t) {
    with_real(a.db.dtype(), [&](auto g) { run_bias_gradient<decltype(t), decltype(g)>(a); });
  });
}

void Elementwise::do_concat(const api::Concat& a) {
  std::int64_t offset = 0;
  for (std::size_t k = 0; k < a.parts.size(); ++k) {
    const bool adds = !a.addends.empty();
    with_real(a.y.dtype(), [&](auto t) {
      with_real(a.parts[k].dtype(), [&](auto p) {
        run_join<decltype(t), decltype(p)>(a.y, offset, a.parts[k], adds ? a.scales[k] : 0.0,
                                           adds ? a.addends[k] : core::Tensor());
      });
    });
    offset += channels(a.parts[k]);
  }
}

void Elementwise::do_split(const api::Split& a) {
  with_real(a.x.dtype(), [&](auto t) { run_split<decltype(t)>(a); });
}

double Elementwise::do_dot(const core::Tensor& a, const core::Tensor& b) {
  double sum = 0.0;
  with_real(a.dtype(), [&](auto t) {
    using T = decltype(t);
    for (std::int64_t i = 0; i < a.count(); ++i)
      sum += static_cast<double>(a.data<T>()[i]) * b.data<T>()[i];
  });
  return sum;
}

void Elementwise::do_argmax(const core::Tensor& x, const core::Tensor& index) {
  with_real(x.dtype(), [&](auto t) {
    using T = decltype(t);
    for (std::int64_t n = 0; n < x.shape()[0]; ++n) {
      const T* row = x.data<T>() + n * channels(x);
      index.data<std::int32_t>()[n] =
          static_cast<std::int32_t>(std::max_element(row, row + channels(x)) - row);
    }
  });
}

}  // namespace isaribi::reference

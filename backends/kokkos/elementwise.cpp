// SPDX-License-Identifier: MIT
// Elementwise operations, concatenation along channels and the small reductions.
#include "backends/kokkos/activation.hpp"
#include "backends/kokkos/conv_kernels.hpp"
#include "backends/kokkos/convert.hpp"
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

template <typename T, typename Act>
void run_activation_forward(const Queue& queue, Index count, const T* x, T* y) {
  for_elements(
      queue, "activation_forward", count, KOKKOS_LAMBDA(Index begin, Index end) {
#pragma omp simd
        for (Index i = begin; i < end; ++i) y[i] = Act::forward(x[i]);
      });
}

/// x or y may be absent when the activation does not read it: `dy` then stands in.
template <typename T, typename Act>
void run_activation_backward(const Queue& queue, Index count, const T* x, const T* y, const T* dy,
                             T* dx) {
  for_elements(
      queue, "activation_backward", count, KOKKOS_LAMBDA(Index begin, Index end) {
#pragma omp simd
        for (Index i = begin; i < end; ++i) dx[i] = Act::backward(x[i], y[i], dy[i]);
      });
}

template <typename T, typename Act>
void run_add(const Queue& queue, Index count, const T* a, const T* b, T* y) {
  for_elements(
      queue, "add", count, KOKKOS_LAMBDA(Index begin, Index end) {
#pragma omp simd
        for (Index i = begin; i < end; ++i) y[i] = Act::forward(a[i] + b[i]);
      });
}

template <typename T>
void run_multiply(const Queue& queue, const api::Multiply& args) {
  const T *a = args.a.data<T>(), *b = args.b.data<T>();
  T* y = args.y.data<T>();
  for_elements(
      queue, "multiply", args.y.count(), KOKKOS_LAMBDA(Index begin, Index end) {
#pragma omp simd
        for (Index i = begin; i < end; ++i) y[i] = a[i] * b[i];
      });
}

template <typename X, typename Y>
void run_axpby(const Queue& queue, const api::Axpby& args) {
  const X* x = args.x.data<X>();
  Y* y = args.y.data<Y>();
  const double alpha = args.alpha, beta = args.beta;
  for_elements(
      queue, "axpby", args.y.count(), KOKKOS_LAMBDA(Index begin, Index end) {
        if (beta == 0) {
#pragma omp simd
          for (Index i = begin; i < end; ++i)
            y[i] = static_cast<Y>(alpha * static_cast<double>(x[i]));
        } else {
#pragma omp simd
          for (Index i = begin; i < end; ++i) {
            y[i] = static_cast<Y>(alpha * static_cast<double>(x[i]) +
                                  beta * static_cast<double>(y[i]));
          }
        }
      });
}

template <typename T>
void run_add_bias(const Queue& queue, const api::AddBias& args) {
  const T *x = args.x.data<T>(), *bias = args.bias.data<T>();
  T* y = args.y.data<T>();
  const Index channels = args.bias.count(), rows = channels == 0 ? 0 : args.x.count() / channels;
  for_rows(
      queue, "add_bias", rows, channels, KOKKOS_LAMBDA(Index row, Index begin, Index end) {
#pragma omp simd
        for (Index c = begin; c < end; ++c) y[row * channels + c] = x[row * channels + c] + bias[c];
      });
}

/// to[row, to_first + c] = from[row, from_first + c] for c < channels.
template <typename T>
void copy_columns(const Queue& queue, const char* label, Index rows, Index channels, const T* from,
                  Index from_first, Index from_channels, T* to, Index to_first, Index to_channels) {
  for_rows(
      queue, label, rows, channels, KOKKOS_LAMBDA(Index row, Index begin, Index end) {
#pragma omp simd
        for (Index c = begin; c < end; ++c)
          to[row * to_channels + to_first + c] = from[row * from_channels + from_first + c];
      });
}

/// to[row, to_first + c] = from[row, c] + scale addend[row, c] for c < channels; without an addend
/// the first term alone.
template <typename T, typename P>
void join_columns(const Queue& queue, Index rows, Index channels, const P* from, const T* addend,
                  double scale, T* to, Index to_first, Index to_channels) {
  for_rows(
      queue, "concat", rows, channels, KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        for (Index c = begin; c < end; ++c) {
          const double term = static_cast<double>(from[row * channels + c]);
          const double added =
              addend != nullptr ? scale * static_cast<double>(addend[row * channels + c]) : 0.0;
          to[row * to_channels + to_first + c] = static_cast<T>(term + added);
        }
      });
}

constexpr Index kDotBlock = 4096;  // fixed: the order of additions must not depend on threads

template <typename T>
double run_dot(Queue& queue, Index count, const T* a, const T* b) {
  const Workspace::Frame frame(queue.workspace);
  const Index blocks = (count + kDotBlock - 1) / kDotBlock;
  double* partial = queue.workspace.take<double>(blocks + 1);
  using Range = Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>;
  Kokkos::parallel_for(
      "dot", Range(queue.space, 0, blocks), KOKKOS_LAMBDA(Index block) {
        const Index first = block * kDotBlock, last = Kokkos::min(first + kDotBlock, count);
        double sums[4] = {};  // four chains hide the latency of an addition
        Index i = first;
        for (; i + 4 <= last; i += 4) {
          for (int k = 0; k < 4; ++k)
            sums[k] += static_cast<double>(a[i + k]) * static_cast<double>(b[i + k]);
        }
        for (; i < last; ++i) sums[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        partial[block] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      });
  Kokkos::parallel_for(
      "dot", Range(queue.space, 0, 1), KOKKOS_LAMBDA(Index) {
        double sum = 0;
        for (Index block = 0; block < blocks; ++block) sum += partial[block];
        partial[blocks] = sum;
      });
  return read_back(queue, partial + blocks);
}

template <typename T>
void run_argmax(const Queue& queue, const core::Tensor& x, const core::Tensor& index) {
  const T* values = x.data<T>();
  std::int32_t* out = index.data<std::int32_t>();
  const Index classes = x.shape()[1];
  Kokkos::parallel_for(
      "argmax", Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>(queue.space, 0, x.shape()[0]),
      KOKKOS_LAMBDA(Index n) {
        Index best = 0;
        for (Index c = 1; c < classes; ++c) {
          if (values[n * classes + c] > values[n * classes + best]) best = c;
        }
        out[n] = static_cast<std::int32_t>(best);
      });
}

class Elementwise final : public api::ElementwiseOps {
 public:
  explicit Elementwise(Queue& queue) : queue_(queue) {}

 private:
  void do_activation_forward(const api::ActivationForward& args) override {
    with_float(args.x.dtype(), [&](auto t) {
      using T = decltype(t);
      with_activation(args.kind, [&](auto act) {
        run_activation_forward<T, decltype(act)>(queue_, args.x.count(), args.x.data<T>(),
                                                 args.y.data<T>());
      });
    });
  }
  void do_activation_backward(const api::ActivationBackward& args) override {
    with_float(args.dy.dtype(), [&](auto t) {
      using T = decltype(t);
      const T* dy = args.dy.data<T>();
      const T* x = args.x.defined() ? args.x.data<T>() : dy;
      const T* y = args.y.defined() ? args.y.data<T>() : dy;
      with_activation(args.kind, [&](auto act) {
        run_activation_backward<T, decltype(act)>(queue_, args.dy.count(), x, y, dy,
                                                  args.dx.data<T>());
      });
    });
  }
  void do_add(const api::Add& args) override {
    with_float(args.a.dtype(), [&](auto t) {
      using T = decltype(t);
      const T *a = args.a.data<T>(), *b = args.b.data<T>();
      if (args.activation == Activation::relu) {
        run_add<T, Relu>(queue_, args.a.count(), a, b, args.y.data<T>());
      } else {
        run_add<T, Identity>(queue_, args.a.count(), a, b, args.y.data<T>());
      }
    });
  }
  void do_multiply(const api::Multiply& args) override {
    with_float(args.a.dtype(), [&](auto t) { run_multiply<decltype(t)>(queue_, args); });
  }
  void do_axpby(const api::Axpby& args) override {
    with_float(args.x.dtype(), [&](auto x) {
      with_float(args.y.dtype(),
                 [&](auto y) { run_axpby<decltype(x), decltype(y)>(queue_, args); });
    });
  }
  void do_fill(const api::Fill& args) override { kokkos::fill(queue_, args.y, args.value); }
  void do_add_bias(const api::AddBias& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_add_bias<decltype(t)>(queue_, args); });
  }
  void do_bias_gradient(const api::BiasGradient& args) override {
    const Index channels = args.db.count(), rows = channels == 0 ? 0 : args.dy.count() / channels;
    with_float(args.dy.dtype(), [&](auto t) {
      using T = decltype(t);
      const T* dy = args.dy.data<T>();
      if (args.db.dtype() == core::DType::f64) {
        sum_rows(queue_, "bias_gradient", rows, channels, dy, args.db.data<double>(),
                 args.accumulate);
      } else {
        sum_rows(queue_, "bias_gradient", rows, channels, dy, args.db.data<T>(), args.accumulate);
      }
    });
  }
  void do_concat(const api::Concat& args) override {
    const Index total = args.y.shape().back();
    Index first = 0;
    for (std::size_t k = 0; k < args.parts.size(); ++k) {
      const core::Tensor& part = args.parts[k];
      const Index channels = part.shape().back(),
                  rows = channels == 0 ? 0 : part.count() / channels;
      with_float(args.y.dtype(), [&](auto t) {
        using T = decltype(t);
        with_float(part.dtype(), [&](auto p) {
          using P = decltype(p);
          const T* addend = args.addends.empty() ? nullptr : args.addends[k].data<T>();
          join_columns(queue_, rows, channels, static_cast<const P*>(part.data<P>()), addend,
                       args.scales.empty() ? 0.0 : args.scales[k], args.y.data<T>(), first, total);
        });
      });
      first += channels;
    }
  }
  void do_split(const api::Split& args) override {
    const Index total = args.x.shape().back();
    with_float(args.x.dtype(), [&](auto t) {
      using T = decltype(t);
      Index first = 0;
      for (const core::Tensor& part : args.parts) {
        const Index channels = part.shape().back(),
                    rows = channels == 0 ? 0 : part.count() / channels;
        copy_columns(queue_, "split", rows, channels, static_cast<const T*>(args.x.data<T>()),
                     first, total, part.data<T>(), Index{0}, channels);
        first += channels;
      }
    });
  }
  double do_dot(const core::Tensor& a, const core::Tensor& b) override {
    return with_float(a.dtype(), [&](auto t) {
      using T = decltype(t);
      return run_dot<T>(queue_, a.count(), a.data<T>(), b.data<T>());
    });
  }
  void do_argmax(const core::Tensor& x, const core::Tensor& index) override {
    with_float(x.dtype(), [&](auto t) { run_argmax<decltype(t)>(queue_, x, index); });
  }

  Queue& queue_;
};

}  // namespace

std::unique_ptr<api::ElementwiseOps> make_elementwise(Queue& queue) {
  return std::make_unique<Elementwise>(queue);
}

}  // namespace isaribi::kokkos

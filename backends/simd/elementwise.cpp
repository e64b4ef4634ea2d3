// SPDX-License-Identifier: MIT
// Elementwise passes: flat arrays cut among threads at multiples of 4096 elements; dot in blocks
// whose size is fixed, added in order, so that the result does not depend on the threads.
#include "backends/simd/elementwise.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/simd/norm.hpp"
#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kGrain = 4096;

template <class Body>
void flat(std::int64_t n, const Body& body) {
  parallel_ranges(n, n, kGrain, body);
}

/// Columns of some rows of a wide matrix: body(k, element of part k, element of the wide matrix,
/// count) for each part and row.
template <class Body>
void for_parts(const core::Tensor& wide, const std::vector<core::Tensor>& parts, Range rows,
               const Body& body) {
  std::int64_t first = 0;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    const std::int64_t columns = parts[k].shape().back();
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
      body(k, row * columns, row * wide.shape().back() + first, columns);
    first += columns;
  }
}

/// Of all rows, by all threads.
template <class Body>
void side_by_side(const core::Tensor& wide, const std::vector<core::Tensor>& parts,
                  const Body& body) {
  const std::int64_t all = wide.shape().back();
  if (all == 0) return;
  parallel_ranges(wide.count() / all, wide.count(), 1,
                  [&](Range r) { for_parts(wide, parts, r, body); });
}

/// As it is: what Concat copies and Split copies back.
struct Bytes {
  explicit Bytes(const core::Tensor& t)
      : base(static_cast<std::byte*>(t.raw())), size(core::size_of(t.dtype())) {}
  std::byte* at(std::int64_t element) const {
    return base + static_cast<std::size_t>(element) * size;
  }
  std::byte* base;
  std::size_t size;
};

bool same_type(const api::Concat& args) {
  return std::all_of(args.parts.begin(), args.parts.end(),
                     [&](const core::Tensor& t) { return t.dtype() == args.y.dtype(); });
}

void join_in_double(const api::Concat& args) {
  double* y = args.y.data<double>();
  side_by_side(args.y, args.parts,
               [&](std::size_t k, std::int64_t from, std::int64_t to, std::int64_t n) {
                 const core::Tensor& part = args.parts[k];
                 const bool wide = part.dtype() == core::DType::f64;
                 for (std::int64_t i = 0; i < n; ++i) {
                   y[to + i] = wide ? part.data<double>()[from + i]
                                    : static_cast<double>(part.data<float>()[from + i]);
                   if (!args.addends.empty())
                     y[to + i] += args.scales[k] * args.addends[k].data<double>()[from + i];
                 }
               });
}

}  // namespace

void concat_rows(const api::Concat& args, Range rows, const Kernels& kernels) {
  const bool adds = !args.addends.empty(), copies = !adds && same_type(args);
  for_parts(
      args.y, args.parts, rows,
      [&](std::size_t k, std::int64_t from, std::int64_t to, std::int64_t n) {
        const core::Tensor& part = args.parts[k];
        if (copies) {
          const Bytes source(part), target(args.y);
          std::memcpy(target.at(to), source.at(from), static_cast<std::size_t>(n) * target.size);
          return;
        }
        const bool wide = part.dtype() == core::DType::f64;
        kernels.narrow_add(
            wide ? nullptr : part.data<float>() + from, wide ? part.data<double>() + from : nullptr,
            adds ? static_cast<float>(args.scales[k]) : 0.0f,
            adds ? args.addends[k].data<float>() + from : nullptr, args.y.data<float>() + to, n);
      });
}

void Elementwise::do_activation_forward(const api::ActivationForward& args) {
  const bool relu = args.kind == api::Activation::relu;
  if (!owns(api::Op::activation_forward, args.x.dtype()) ||
      (!relu && args.kind != api::Activation::tanh)) {
    context_.fall_back(api::Op::activation_forward, args.x).elementwise().activation_forward(args);
    return;
  }
  const float* x = args.x.data<float>();
  float* y = args.y.data<float>();
  const auto pass = relu ? context_.kernels().relu : context_.kernels().tanh;
  flat(args.x.count(), [&](Range r) { pass(x + r.begin, y + r.begin, r.end - r.begin); });
}

void Elementwise::do_activation_backward(const api::ActivationBackward& args) {
  const bool relu = args.kind == api::Activation::relu;
  if (!owns(api::Op::activation_backward, args.dy.dtype()) ||
      (!relu && args.kind != api::Activation::tanh)) {
    context_.fall_back(api::Op::activation_backward, args.dy)
        .elementwise()
        .activation_backward(args);
    return;
  }
  const float *y = args.y.data<float>(), *dy = args.dy.data<float>();
  float* dx = args.dx.data<float>();
  const auto pass = relu ? context_.kernels().relu_backward : context_.kernels().tanh_backward;
  flat(args.dy.count(),
       [&](Range r) { pass(y + r.begin, dy + r.begin, dx + r.begin, r.end - r.begin); });
}

void Elementwise::do_add(const api::Add& args) {
  if (!owns(api::Op::add, args.a.dtype())) {
    context_.fall_back(api::Op::add, args.a).elementwise().add(args);
    return;
  }
  const float *a = args.a.data<float>(), *b = args.b.data<float>();
  float* y = args.y.data<float>();
  flat(args.a.count(), [&](Range r) {
    context_.kernels().add(a + r.begin, b + r.begin, y + r.begin, r.end - r.begin,
                           args.activation == api::Activation::relu);
  });
}

// Not hot: matrices of K-FAC's eigenbases only.
void Elementwise::do_multiply(const api::Multiply& args) {
  context_.fall_back(api::Op::multiply, args.a).elementwise().multiply(args);
}

void Elementwise::do_axpby(const api::Axpby& args) {
  const bool from64 = args.x.dtype() == core::DType::f64, to64 = args.y.dtype() == core::DType::f64;
  if (from64 || to64) {
    const auto run = [&]<typename X, typename Y>(auto kernel, const X* x, Y* y) {
      // By bytes: averages of K-FAC's small factors wait for memory, each thread for its part.
      const std::int64_t n = args.x.count(),
                         bytes = n * static_cast<std::int64_t>(sizeof(X) + sizeof(Y));
      parallel_ranges(n, bytes / 4, kGrain, [&](Range r) {
        kernel(args.alpha, x + r.begin, args.beta, y + r.begin, r.end - r.begin);
      });
    };
    const Kernels& kernels = context_.kernels();
    if (!from64) {
      run(kernels.axpby_f32_f64, args.x.data<float>(), args.y.data<double>());
    } else if (to64) {
      run(kernels.axpby_f64, args.x.data<double>(), args.y.data<double>());
    } else {
      run(kernels.axpby_f64_f32, args.x.data<double>(), args.y.data<float>());
    }
    return;
  }
  const float* x = args.x.data<float>();
  float* y = args.y.data<float>();
  flat(args.x.count(), [&](Range r) {
    context_.kernels().axpby(static_cast<float>(args.alpha), x + r.begin,
                             static_cast<float>(args.beta), y + r.begin, r.end - r.begin);
  });
}

void Elementwise::do_fill(const api::Fill& args) {
  if (!owns(api::Op::fill, args.y.dtype())) {
    context_.fall_back(api::Op::fill, args.y).elementwise().fill(args);
    return;
  }
  if (args.y.dtype() == core::DType::f64) {
    double* y = args.y.data<double>();
    flat(args.y.count(), [&](Range r) { std::fill(y + r.begin, y + r.end, args.value); });
    return;
  }
  float* y = args.y.data<float>();
  flat(args.y.count(), [&](Range r) {
    context_.kernels().fill(static_cast<float>(args.value), y + r.begin, r.end - r.begin);
  });
}

void Elementwise::do_add_bias(const api::AddBias& args) {
  if (!owns(api::Op::add_bias, args.x.dtype())) {
    context_.fall_back(api::Op::add_bias, args.x).elementwise().add_bias(args);
    return;
  }
  const std::int64_t c = args.bias.count(), rows = c > 0 ? args.x.count() / c : 0;
  const float *x = args.x.data<float>(), *bias = args.bias.data<float>();
  float* y = args.y.data<float>();
  parallel_ranges(rows, args.x.count(), 1, [&](Range r) {
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      context_.kernels().add(x + i * c, bias, y + i * c, c, false);
    }
  });
}

void Elementwise::do_bias_gradient(const api::BiasGradient& args) {
  if (!owns(api::Op::bias_gradient, args.dy.dtype())) {
    context_.fall_back(api::Op::bias_gradient, args.dy).elementwise().bias_gradient(args);
    return;
  }
  simd::bias_gradient(context_, args.dy, args.db, args.accumulate);
}

void Elementwise::do_concat(const api::Concat& args) {
  if (args.y.dtype() == core::DType::f64 && (!args.addends.empty() || !same_type(args)))
    return join_in_double(args);
  const std::int64_t all = args.y.shape().back();
  if (all == 0) return;
  parallel_ranges(args.y.count() / all, args.y.count(), 1,
                  [&](Range r) { concat_rows(args, r, context_.kernels()); });
}

void Elementwise::do_split(const api::Split& args) {
  const Bytes wide(args.x);
  side_by_side(args.x, args.parts,
               [&](std::size_t k, std::int64_t to, std::int64_t from, std::int64_t n) {
                 std::memcpy(Bytes(args.parts[k]).at(to), wide.at(from),
                             static_cast<std::size_t>(n) * wide.size);
               });
}

double Elementwise::do_dot(const core::Tensor& a, const core::Tensor& b) {
  if (a.dtype() != b.dtype() || !owns(api::Op::dot, a.dtype())) {
    return context_.fall_back(api::Op::dot, a).elementwise().dot(a, b);
  }
  const std::int64_t n = a.count(), blocks = (n + kGrain - 1) / kGrain;
  double* partial = context_.ready().get<double>(Use::result, blocks + 1);
  const float *x = a.data<float>(), *y = b.data<float>();
  parallel_ranges(blocks, n, 1, [&](Range r) {
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      partial[i] =
          context_.kernels().dot(x + i * kGrain, y + i * kGrain, std::min(kGrain, n - i * kGrain));
    }
  });
  double sum = 0;
  for (std::int64_t i = 0; i < blocks; ++i) sum += partial[i];
  return sum;
}

void Elementwise::do_argmax(const core::Tensor& x, const core::Tensor& index) {
  context_.fall_back(api::Op::argmax, x).elementwise().argmax(x, index);
}

}  // namespace isaribi::simd

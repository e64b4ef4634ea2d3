// SPDX-License-Identifier: MIT
// Elementwise operations, channel concatenation, and the few reductions that training needs. Types:
// f32 and f64.
#pragma once

#include <vector>

#include "backends/api/op.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

struct ActivationForward {
  Activation kind = Activation::relu;
  core::Tensor x;
  core::Tensor y;  ///< out: like x; may be x itself for relu, relu6, tanh and sigmoid
};

struct ActivationBackward {
  Activation kind = Activation::relu;
  core::Tensor x;   ///< input of the forward pass; read by swish only, else may be undefined
  core::Tensor y;   ///< output of the forward pass; read by all but swish, else may be undefined
  core::Tensor dy;  ///< like y
  core::Tensor dx;  ///< out: like y; may be dy itself. relu6' and relu' are 0 at their corners
};

/// y = act(a + b), same shapes; act is none or relu.
struct Add {
  core::Tensor a, b;
  core::Tensor y;  ///< out: may be a or b itself
  Activation activation = Activation::none;
};

/// y = a b element by element, same shapes and type.
struct Multiply {
  core::Tensor a, b;
  core::Tensor y;  ///< out: may be a or b itself
};

/// y = alpha x + beta y. x and y may differ in type between f32 and f64. With beta == 0, y is not
/// read.
struct Axpby {
  double alpha = 1.0;
  core::Tensor x;
  double beta = 0.0;
  core::Tensor y;  ///< in/out
};

/// y = value. Any element type.
struct Fill {
  core::Tensor y;
  double value = 0.0;
};

/// y[.., c] = x[.., c] + bias[c].
struct AddBias {
  core::Tensor x, bias;
  core::Tensor y;  ///< out: may be x itself
};

/// db[c] = sum of dy over all but the last axis, in f64 inside; db has the type of dy or f64.
struct BiasGradient {
  core::Tensor dy;
  core::Tensor db;
  bool accumulate = false;
};

/// y[.., offsets] = parts side by side along the last axis; split is its inverse. With addends,
/// part k + scales[k] addends[k]: gradients with their L2 decay, as one matrix.
struct Concat {
  std::vector<core::Tensor> parts;         ///< each [.., C_k], same leading extents; f32 or f64
  core::Tensor y;                          ///< out: [.., sum C_k]; rounded to its type
  std::vector<core::Tensor> addends = {};  ///< one per part and like it, in the type of y; or none
  std::vector<double> scales = {};         ///< one per addend
};
/// @throws ShapeError when operands do not fit together.
void check_concat(const Concat& args);

struct Split {
  core::Tensor x;                   ///< [.., sum C_k]
  std::vector<core::Tensor> parts;  ///< out: each [.., C_k]
};

/// Elementwise operations of one backend.
class ElementwiseOps {
 public:
  virtual ~ElementwiseOps() = default;
  void activation_forward(const ActivationForward& args);
  void activation_backward(const ActivationBackward& args);
  void add(const Add& args);
  void multiply(const Multiply& args);
  void axpby(const Axpby& args);
  void fill(const Fill& args);
  void add_bias(const AddBias& args);
  void bias_gradient(const BiasGradient& args);
  void concat(const Concat& args);
  void split(const Split& args);
  /// sum_i a_i b_i accumulated in f64, in an order that does not depend on the number of threads.
  /// Waits for the result.
  double dot(const core::Tensor& a, const core::Tensor& b);
  /// index[n] = first c with the largest x[n, c]. x: [N, C], index: [N] i32.
  void argmax(const core::Tensor& x, const core::Tensor& index);

 private:
  virtual void do_activation_forward(const ActivationForward& args) = 0;
  virtual void do_activation_backward(const ActivationBackward& args) = 0;
  virtual void do_add(const Add& args) = 0;
  virtual void do_multiply(const Multiply& args) = 0;
  virtual void do_axpby(const Axpby& args) = 0;
  virtual void do_fill(const Fill& args) = 0;
  virtual void do_add_bias(const AddBias& args) = 0;
  virtual void do_bias_gradient(const BiasGradient& args) = 0;
  virtual void do_concat(const Concat& args) = 0;
  virtual void do_split(const Split& args) = 0;
  virtual double do_dot(const core::Tensor& a, const core::Tensor& b) = 0;
  virtual void do_argmax(const core::Tensor& x, const core::Tensor& index) = 0;
};

}  // namespace isaribi::api

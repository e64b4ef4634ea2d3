// SPDX-License-Identifier: MIT
// The statistics K-FAC is made of: second moments of patches (Martens & Grosse 2015; Grosse &
// Martens 2016 for convolutions), the unit-wise Fisher of batch norm (Osawa et al. 2020), and the
// vectors whose back-propagation forms the output factors (Martens 2020, "New insights and
// perspectives on the natural gradient method"). Types: f32 and f64.
#pragma once

#include <cstdint>

#include "backends/api/conv.hpp"
#include "backends/api/op.hpp"
#include "core/rng.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

/// For every group k: a[k] (+)= scale sum_{n,t} p p^T, where p is what a kernel of kh x kw of that
/// group sees of sample n at output position t: the elements in the order (r, s, i) of convolution
/// weights, taps outside x as 0, and with `bias` a last element 1. Both triangles are written, and
/// they are bitwise equal; or the lower one alone, row by row. Sums inside blocks of kSampleBlock
/// samples, or parts of such blocks, are of the type of x, across them f64. An empty batch gives 0,
/// or leaves a unchanged when accumulating.
///
/// The input factor of a convolution takes its input and geometry, that of a linear layer its input
/// as [N, 1, 1, I]; the output factor takes the gradient [N, P, Q, O] with a 1 x 1 kernel. (The
/// same data as [N P Q, 1, 1, O] is the same sum in blocks of 32 positions: slower.)
struct PatchCovariance {
  core::Tensor x;  ///< [N, H, W, I]
  std::int64_t kh = 1, kw = 1;
  ConvGeometry geometry = {};
  bool bias = false;
  double scale = 1.0;
  core::Tensor a;  ///< out: [groups, D, D], D = kh kw I / groups + bias, or packed as [groups,
                   ///< D (D + 1) / 2]; the type of x or f64
  bool accumulate = false;  ///< add to a, which must be symmetric

  /// D
  std::int64_t length() const {
    return kh * kw * (x.shape()[3] / geometry.groups) + (bias ? 1 : 0);
  }
};

/// out[n, k] = scale sum_t p with p as in PatchCovariance (the element of the bias becomes
/// scale T): the averaged patches of KFAC-reduce (Eschenhagen et al. 2023), whose second moment is
/// patch_covariance of out as [N, 1, 1, groups D] with the same number of groups. With a 1 x 1
/// kernel it sums a gradient over its positions. Summed in f64.
struct PatchMean {
  core::Tensor x;  ///< [N, H, W, I]
  std::int64_t kh = 1, kw = 1;
  ConvGeometry geometry = {};
  bool bias = false;
  double scale = 1.0;
  core::Tensor out = {};  ///< out: [N, groups, D], D = kh kw I / groups + bias; type of x
};

/// With x^ and dy' as in BatchNormBackwardReduce, u_n = sum dy' x^ and v_n = sum dy' over the
/// positions of sample n: sums[0, c] (+)= scale sum_n u_n^2, sums[1, c] (+)= scale sum_n u_n v_n,
/// sums[2, c] (+)= scale sum_n v_n^2. These are the entries of the 2 x 2 Fisher of (gamma, beta) of
/// each channel: products of sums over positions, not sums of products.
struct NormFisher {
  core::Tensor x;   ///< [N, .., C]
  core::Tensor y;   ///< like x: output of a fused relu; undefined when activation is none
  core::Tensor dy;  ///< like x
  core::Tensor mean, inv_std;  ///< [C], type of x
  core::Tensor sums;           ///< out: [3, C] f64
  Activation activation = Activation::none;
  double scale = 1.0;
  bool accumulate = false;
};

/// The losses of backends/api/loss.hpp as likelihoods.
enum class LossKind : std::uint8_t {
  softmax_cross_entropy,
  mean_squared_error,
  bernoulli_cross_entropy
};

/// Which square root of the Hessian of the loss in z is drawn.
enum class FisherMode : std::uint8_t {
  sample,  ///< gradient for a label drawn from the model: E[v v^T] is the Hessian
  column,  ///< column `index` of an exact square root: sum over columns of v v^T is the Hessian
  signs    ///< sum of all columns with random signs +-1: E[v v^T] is the Hessian
};

/// dz[n] = scale v, v a vector whose second moment is the Hessian H of the loss of sample n in z
/// (for targets that add up to 1; no target enters). With p = softmax(z), or sigmoid(z) per
/// element:
///   softmax    H = diag(p) - p p^T, sample p - e_y with y ~ p, column c sqrt(p_c) (e_c - p);
///   squares    H = I,               sample N(0, I),            column c e_c;
///   Bernoulli  H = diag(p (1 - p)), sample p - t with t_c ~ Bernoulli(p_c),
///                                   column c sqrt(p_c (1 - p_c)) e_c.
/// Random numbers are those of `key` at coordinate ids[n] + 2^32 index, so they depend on nothing
/// else. With u = word 2^-32: word 0 decides the class y, the first with u < p_0 + .. + p_y, word c
/// decides t_c = [u < p_c], normals are those of RandomNormal, and sign c is + where bit c mod 32
/// of word c / 32 is 0. Evaluated in f64.
struct FisherVectors {
  LossKind loss = LossKind::softmax_cross_entropy;
  FisherMode mode = FisherMode::sample;
  std::int64_t index = 0;  ///< number of the draw, in [0, 2^32), or the column, in [0, C)
  core::Tensor z;          ///< [N, C]
  core::Tensor ids;        ///< [N] i32: global sample ids; not needed for columns
  core::Philox key{0, core::Purpose::fisher};
  double scale = 1.0;
  core::Tensor dz;  ///< out: like z; may be z itself

  /// The coordinate of one sample's draw under `key`.
  std::uint64_t coordinate(std::int32_t id) const {
    return static_cast<std::uint64_t>(index) << 32 | static_cast<std::uint32_t>(id);
  }
};

/// Statistics of one backend. The public functions check shapes and types (ShapeError, UsageError),
/// then call the virtual ones.
class FactorOps {
 public:
  virtual ~FactorOps() = default;
  void patch_covariance(const PatchCovariance& args);
  void patch_mean(const PatchMean& args);
  void norm_fisher(const NormFisher& args);
  void fisher_vectors(const FisherVectors& args);

 private:
  virtual void do_patch_covariance(const PatchCovariance& args) = 0;
  virtual void do_patch_mean(const PatchMean& args) = 0;
  virtual void do_norm_fisher(const NormFisher& args) = 0;
  virtual void do_fisher_vectors(const FisherVectors& args) = 0;
};

}  // namespace isaribi::api

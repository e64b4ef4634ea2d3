// SPDX-License-Identifier: MIT
// Random numbers on the device, all from core/rng.hpp, so that every backend draws the same bits.
// Types: f32 and f64.
#pragma once

#include "core/rng.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

/// y = x / (1 - p) where key.uniform(ids[n], element) >= p, else 0; element counts inside the
/// sample. Applying the same call to dy is the backward pass.
struct Dropout {
  core::Tensor x;    ///< [N, ..]
  core::Tensor ids;  ///< [N] i32: global sample ids
  core::Tensor y;    ///< out: like x; may be x itself
  double p = 0.5;    ///< in [0, 1)
  core::Philox key{0, core::Purpose::dropout};
};

/// Element i of x: key.uniform(coordinate, i).
struct RandomUniform {
  core::Tensor x;  ///< out
  core::Philox key{0, core::Purpose::test};
  std::uint64_t coordinate = 0;
};

/// Standard normals by Box-Muller: with (u, v) = words 2k, 2k+1 of coordinate, u1 = (u + 1) 2^-32,
/// u2 = v 2^-32, r = sqrt(-2 ln u1): element 2k = r cos(2 pi u2), element 2k+1 = r sin(2 pi u2),
/// evaluated in f64.
struct RandomNormal {
  core::Tensor x;  ///< out
  core::Philox key{0, core::Purpose::test};
  std::uint64_t coordinate = 0;
};

/// Random operations of one backend.
class RandomOps {
 public:
  virtual ~RandomOps() = default;
  void dropout(const Dropout& args);
  void uniform(const RandomUniform& args);
  void normal(const RandomNormal& args);

 private:
  virtual void do_dropout(const Dropout& args) = 0;
  virtual void do_uniform(const RandomUniform& args) = 0;
  virtual void do_normal(const RandomNormal& args) = 0;
};

}  // namespace isaribi::api

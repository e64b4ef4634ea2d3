// SPDX-License-Identifier: MIT
// A trained tensor and where its gradient goes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/node_memory.hpp"
#include "core/tensor.hpp"
#include "nn/sharding.hpp"

namespace isaribi::nn {

/// What a parameter is, for weight decay and for optimizers that treat kinds apart.
enum class Role : std::uint8_t { weight, bias, norm_scale, norm_shift };

/// How a parameter starts. Drawn on the host in f64 from core::Philox(seed, Purpose::init, id), so
/// that backends and rank counts agree bit for bit.
struct Initialiser {
  enum class Kind : std::uint8_t { constant, normal, uniform };
  Kind kind = Kind::constant;
  double scale = 0.0;  ///< the constant; the standard deviation; or b of uniform in [-b, b)
};

struct Parameter {
  std::string name;  ///< "conv1/weight": its name in checkpoints and tables
  Role role = Role::weight;
  core::Shape shape;
  Initialiser initialiser;
  std::uint32_t id = 0;   ///< position in the graph's list; keys its random initialisation
  core::Tensor value;     ///< f32 (or f64), in the backend's memory
  core::Tensor gradient;  ///< of own(); a slice of the graph's flat gradient tensor (f32 or f64)
                          ///< unless sharded
  Shards shards;          ///< none: ranks sum the gradient and each updates all of the value
  /// Where the value lies if the ranks of a node have it once between them; null: each has its own.
  /// Then a rank writes its rows only, between two fences of this memory.
  comm::NodeMemory* node = nullptr;

  /// What this rank updates: the value, or its rows of it.
  core::Tensor own() const {
    return shards.any() ? value.rows(shards.begin(), shards.end()) : value;
  }
  core::Shape own_shape() const;
  /// Of a sharded parameter: elements of each rank's rows.
  std::vector<std::int64_t> own_counts() const;
  /// Of a tensor like the value: what this rank copies into the value, or out of it, where every
  /// rank has such a tensor.
  core::Tensor part(const core::Tensor& whole) const;
};

/// The node memory in which there are values of `parameters`; null: none.
comm::NodeMemory* node_memory(std::span<Parameter* const> parameters);

}  // namespace isaribi::nn

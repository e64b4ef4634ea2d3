// SPDX-License-Identifier: MIT
// What a checkpoint holds, seen neutrally: named tensors and named values. Nothing here knows
// layers or optimizers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.hpp"

namespace isaribi::checkpoint {

using Value = std::variant<std::int64_t, double, std::string>;

/// The state of a run, identical on all ranks. Tensor names are paths: "weights/conv1/weight",
/// "optimizer/momentum/conv1/weight", "norm/bn1/running_mean", "average/conv1/weight".
struct State {
  std::vector<core::NamedTensor> tensors;  ///< host memory
  std::map<std::string, Value>
      values;  ///< step, epoch, batch, seed, best accuracy, ... part of the digest
  std::map<std::string, Value>
      notes;  ///< deck text, program version, world size, wall clock: not part of it
};

}  // namespace isaribi::checkpoint

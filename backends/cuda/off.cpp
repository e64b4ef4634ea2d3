// SPDX-License-Identifier: MIT
// Stands in for register.cpp in a build without CUDA.
#include <utility>

#include "backends/cuda/register.hpp"

namespace isaribi::cuda {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "cuda";
  entry.why_unusable = [] {
    return std::string("built without CUDA: configure with -DISARIBI_CUDA=ON");
  };
  registry.add(std::move(entry));
}

}  // namespace isaribi::cuda

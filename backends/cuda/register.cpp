// SPDX-License-Identifier: MIT
// Part of the executable, therefore free of CUDA headers: names the module that holds the backend.
#include "backends/cuda/register.hpp"

#include <utility>

#include "backends/api/module.hpp"

namespace isaribi::cuda {

void register_backend(api::Registry& registry) {
  api::Entry entry;
  entry.name = "cuda";
  entry.priority = -1;  // only by name: the operations of a whole network are not all here yet
  entry.fallback = "kokkos";
  api::add_module(registry, std::move(entry), "isaribi_cuda.so");
}

}  // namespace isaribi::cuda

// SPDX-License-Identifier: MIT
// Launchers of the optimizer updates; what happens to one element is in bodies.hpp.
#include "backends/cuda/bodies.hpp"
#include "backends/cuda/for_each.cuh"
#include "backends/cuda/kernels.hpp"

namespace isaribi::cuda {

void launch(const api::SgdUpdate& args, cudaStream_t stream) {
  with_real(args.w.dtype(), [&](auto w) {
    with_real(args.gradient.dtype(), [&](auto g) {
      for_each(args.w.count(), SgdBody<decltype(w), decltype(g)>(args), stream, "sgd_update");
    });
  });
}

void launch(const api::AdamUpdate& args, cudaStream_t stream) {
  with_real(args.w.dtype(), [&](auto w) {
    with_real(args.gradient.dtype(), [&](auto g) {
      for_each(args.w.count(), AdamBody<decltype(w), decltype(g)>(args), stream, "adam_update");
    });
  });
}

}  // namespace isaribi::cuda

// SPDX-License-Identifier: MIT
// The launchers that the .cu files define. Each enqueues on `stream` and returns at once; shapes
// and types were checked by the public functions of backends/api.
#pragma once

#include <cuda_runtime_api.h>

#include "backends/api/elementwise.hpp"
#include "backends/api/update.hpp"

namespace isaribi::cuda {

void launch(const api::ActivationForward& args, cudaStream_t stream);
void launch(const api::ActivationBackward& args, cudaStream_t stream);
void launch(const api::Add& args, cudaStream_t stream);
void launch(const api::Axpby& args, cudaStream_t stream);
void launch(const api::Fill& args, cudaStream_t stream);
void launch(const api::AddBias& args, cudaStream_t stream);
void launch(const api::SgdUpdate& args, cudaStream_t stream);
void launch(const api::AdamUpdate& args, cudaStream_t stream);

}  // namespace isaribi::cuda

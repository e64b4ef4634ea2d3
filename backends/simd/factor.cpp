// SPDX-License-Identifier: MIT
// The statistics of K-FAC.
#include "backends/simd/factor.hpp"

namespace isaribi::simd {

void Factor::do_patch_covariance(const api::PatchCovariance& args) {
  context_.fall_back(api::Op::patch_covariance, args.x).factor().patch_covariance(args);
}
void Factor::do_patch_mean(const api::PatchMean& args) {
  context_.fall_back(api::Op::patch_mean, args.x).factor().patch_mean(args);
}
void Factor::do_norm_fisher(const api::NormFisher& args) {
  context_.fall_back(api::Op::norm_fisher, args.x).factor().norm_fisher(args);
}
void Factor::do_fisher_vectors(const api::FisherVectors& args) {
  context_.fall_back(api::Op::fisher_vectors, args.z).factor().fisher_vectors(args);
}

}  // namespace isaribi::simd

// SPDX-License-Identifier: MIT
#include "comm/nccl_module.hpp"

#include "core/error.hpp"

namespace isaribi::comm {

void NcclModule::open() {
  if (why_unusable_) return;
  const core::OpenedModule module =
      core::open_module("isaribi_nccl.so", "isaribi_nccl_module", kNcclModuleAbi);
  why_unusable_ = module.found ? module.why_unusable : "built without NCCL";
  if (why_unusable_->empty())
    gpus_.reset(static_cast<const NcclModuleTable*>(module.head)->create());
}

Gpus& NcclModule::opened() {
  open();
  if (gpus_ == nullptr)
    throw core::CommError("NCCL: " + *why_unusable_, "ring, direct and shared levels need no GPU");
  return *gpus_;
}

Gpu NcclModule::gpu_of(int rank_on_node) {
  open();
  if (gpus_ != nullptr) return gpus_->gpu_of(rank_on_node);
  Gpu none;
  none.why_none = *why_unusable_;
  return none;
}

std::string NcclModule::new_group() {
  return opened().new_group();
}

std::unique_ptr<Collectives> NcclModule::join(const std::string& group, int rank, int size,
                                              int rank_on_node, const GroupRoom& room) {
  return opened().join(group, rank, size, rank_on_node, room);
}

}  // namespace isaribi::comm

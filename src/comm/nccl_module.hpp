// SPDX-License-Identifier: MIT
// NCCL as a module, isaribi_nccl.so (src/comm/nccl), opened when first asked for: the executable
// links neither NCCL nor CUDA and touches no GPU before.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "comm/gpus.hpp"
#include "core/module_file.hpp"

namespace isaribi::comm {

inline constexpr int kNcclModuleAbi = 1;

/// What isaribi_nccl_module() returns.
struct NcclModuleTable : core::ModuleHead {
  /// New, owned by the caller.
  Gpus* (*create)() = nullptr;
};

/// The GPUs that the module finds; where it cannot be opened, none, and why.
class NcclModule final : public Gpus {
 public:
  Gpu gpu_of(int rank_on_node) override;
  std::string new_group() override;
  std::unique_ptr<Collectives> join(const std::string& group, int rank, int size, int rank_on_node,
                                    const GroupRoom& room) override;

 private:
  void open();
  Gpus& opened();
  std::optional<std::string> why_unusable_;  ///< unset: not opened yet
  std::unique_ptr<Gpus> gpus_;
};

}  // namespace isaribi::comm

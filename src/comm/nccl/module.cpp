// SPDX-License-Identifier: MIT
// The door of isaribi_nccl.so: whether there is a GPU here, which one a rank has, and groups of
// them. No exception may leave through the C function, and none is thrown in it.
#include <algorithm>
#include <memory>
#include <string>

#include "comm/nccl/check.hpp"
#include "comm/nccl/group.hpp"
#include "comm/nccl_module.hpp"

namespace isaribi::comm::nccl {
namespace {

const char* why_unusable() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver || status == cudaErrorStubLibrary) return "no driver";
  return status == cudaSuccess && count > 0 ? nullptr : "no GPU";
}

int devices() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  return count;
}

/// A launcher may show each rank its own GPU only.
int device_of(int rank_on_node) {
  return rank_on_node % std::max(devices(), 1);
}

/// The least device that this one reaches, by itself or through others: NVLink, or PCIe without
/// the host between. -1 where this process does not see the others.
int group_of(int device) {
  const int count = devices();
  if (count < 2) return -1;
  int least = device;
  for (bool grown = true; grown;) {
    grown = false;
    for (int other = 0; other < least; ++other) {
      int reaches = 0;
      check(cudaDeviceCanAccessPeer(&reaches, least, other), "cudaDeviceCanAccessPeer");
      if (reaches == 0) continue;
      least = other;
      grown = true;
      break;
    }
  }
  return least;
}

class NcclGpus final : public Gpus {
 public:
  Gpu gpu_of(int rank_on_node) override {
    const int device = device_of(rank_on_node);
    char name[32] = {};
    check(cudaDeviceGetPCIBusId(name, sizeof(name), device), "cudaDeviceGetPCIBusId");
    return {name, "", group_of(device)};
  }
  std::string new_group() override { return new_id(); }
  std::unique_ptr<Collectives> join(const std::string& group, int rank, int size, int rank_on_node,
                                    const GroupRoom& room) override {
    return std::make_unique<Group>(group, rank, size, device_of(rank_on_node), room);
  }
};

Gpus* create() {
  return new NcclGpus;
}

}  // namespace
}  // namespace isaribi::comm::nccl

extern "C" __attribute__((visibility("default"))) const isaribi::comm::NcclModuleTable*
isaribi_nccl_module() {
  static const isaribi::comm::NcclModuleTable table{
      {isaribi::comm::kNcclModuleAbi, isaribi::comm::nccl::why_unusable},
      isaribi::comm::nccl::create};
  return &table;
}

// SPDX-License-Identifier: MIT
#include "comm/nccl/group.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "comm/nccl/slot.hpp"
#include "core/error.hpp"

namespace isaribi::comm::nccl {
namespace {

constexpr int kBlocks = 16;  // of the GPU, that one group may hold

ncclDataType_t type_of(const core::Tensor& tensor) {
  switch (tensor.dtype()) {
    case core::DType::f64:
      return ncclFloat64;
    case core::DType::f32:
      return ncclFloat32;
    case core::DType::i32:
      return ncclInt32;
    default:
      throw core::InternalError("NCCL is asked to sum " +
                                std::string(core::name_of(tensor.dtype())));
  }
}

bool alike(std::span<const std::int64_t> counts) {
  return std::all_of(counts.begin(), counts.end(), [&](auto c) { return c == counts.front(); });
}

/// Parts of several lengths: calls visit(member, first element, elements) for every one that has
/// any, whose calls of NCCL leave in one launch.
template <typename Visit>
void launch_parts(std::span<const std::int64_t> counts, ncclComm_t comm, const Visit& visit) {
  check(ncclGroupStart(), "ncclGroupStart");
  std::int64_t at = 0;
  for (std::size_t m = 0; m < counts.size(); at += counts[m++]) {
    if (counts[m] > 0) visit(static_cast<int>(m), at, static_cast<std::size_t>(counts[m]));
  }
  check(ncclGroupEnd(), "ncclGroupEnd", comm);
}

std::int64_t first_of(std::span<const std::int64_t> counts, int member) {
  std::int64_t at = 0;
  for (int m = 0; m < member; ++m) at += counts[static_cast<std::size_t>(m)];
  return at;
}

}  // namespace

struct Group::Queue {
  Queue(const std::string& id, int rank, int size, int d, const GroupRoom& room) : device(d) {
    use();
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    for (int i = 0; i < room.at_once; ++i) free.push_back(std::make_unique<Slot>(room.bytes));
    ncclUniqueId name;
    if (id.size() != sizeof(name)) throw core::InternalError("not the name of an NCCL group");
    std::memcpy(&name, id.data(), sizeof(name));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.maxCTAs = kBlocks;
    check(ncclCommInitRankConfig(&comm, size, name, rank, &config), "ncclCommInitRankConfig");
  }
  ~Queue() {
    cudaSetDevice(device);
    // Members may be gone while an exception unwinds: then nobody is waited for.
    std::uncaught_exceptions() > exceptions ? ncclCommAbort(comm) : ncclCommDestroy(comm);
    free.clear();
    cudaStreamDestroy(stream);
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  void use() const { check(cudaSetDevice(device), "cudaSetDevice"); }

  std::unique_ptr<Slot> take(std::size_t bytes) {
    if (free.empty() || free.back()->bytes() < bytes)
      throw core::InternalError("more is given to an NCCL group than it was made for");
    std::unique_ptr<Slot> slot = std::move(free.back());
    free.pop_back();
    return slot;
  }

  int device;
  cudaStream_t stream = nullptr;
  ncclComm_t comm = nullptr;
  std::vector<std::unique_ptr<Slot>> free;
  int exceptions = std::uncaught_exceptions();
};

namespace {

class Pending final : public Request::Pending {
 public:
  Pending(std::shared_ptr<Group::Queue> queue, std::unique_ptr<Slot> slot, core::Tensor to)
      : queue_(std::move(queue)), slot_(std::move(slot)), to_(std::move(to)) {}
  ~Pending() override { queue_->free.push_back(std::move(slot_)); }

  bool test() override {
    ncclResult_t behind = ncclSuccess;
    check(ncclCommGetAsyncError(queue_->comm, &behind), "ncclCommGetAsyncError", queue_->comm);
    if (behind != ncclInProgress) check(behind, "a collective", queue_->comm);
    const cudaError_t status = cudaEventQuery(slot_->event());
    if (status == cudaErrorNotReady) return false;
    check(status, "cudaEventQuery");
    finish();
    return true;
  }
  void wait() override {
    check(cudaEventSynchronize(slot_->event()), "cudaEventSynchronize");
    finish();
  }

 private:
  void finish() {
    if (to_.bytes() > 0) std::memcpy(to_.raw(), slot_->host(), to_.bytes());
  }

  std::shared_ptr<Group::Queue> queue_;
  std::unique_ptr<Slot> slot_;
  core::Tensor to_;
};

}  // namespace

std::string new_id() {
  ncclUniqueId name;
  check(ncclGetUniqueId(&name), "ncclGetUniqueId");
  return std::string(reinterpret_cast<const char*>(&name), sizeof(name));
}

Group::Group(const std::string& id, int rank, int size, int device, const GroupRoom& room)
    : queue_(std::make_shared<Queue>(id, rank, size, device, room)), rank_(rank) {}

Request Group::enqueue(const core::Tensor& from, std::int64_t in, std::int64_t room,
                       const std::function<void(std::byte* device)>& calls, std::int64_t out,
                       const core::Tensor& to) {
  const std::size_t width = core::size_of(to.dtype());
  const auto at = [&](std::byte* base, std::int64_t element) {
    return base + static_cast<std::size_t>(element) * width;
  };
  queue_->use();
  std::unique_ptr<Slot> slot = queue_->take(static_cast<std::size_t>(room) * width);
  const auto copy = [&](void* target, const void* source, std::size_t bytes) {
    check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDefault, queue_->stream),
          "cudaMemcpyAsync");
  };
  if (from.bytes() > 0) {
    std::memcpy(slot->host(), from.raw(), from.bytes());
    copy(at(slot->device(), in), slot->host(), from.bytes());
  }
  calls(slot->device());
  if (to.bytes() > 0) copy(slot->host(), at(slot->device(), out), to.bytes());
  check(cudaEventRecord(slot->event(), queue_->stream), "cudaEventRecord");
  return Request(std::make_unique<Pending>(queue_, std::move(slot), to));
}

Request Group::start_all_reduce(core::Tensor x) {
  if (x.count() == 0) return {};
  const auto sum = [&](std::byte* device) {
    check(ncclAllReduce(device, device, static_cast<std::size_t>(x.count()), type_of(x), ncclSum,
                        queue_->comm, queue_->stream),
          "ncclAllReduce", queue_->comm);
  };
  return enqueue(x, 0, x.count(), sum, 0, x);
}

Request Group::start_reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                      core::Tensor mine) {
  if (all.count() == 0) return {};
  const std::size_t width = core::size_of(all.dtype());
  const std::int64_t own = first_of(counts, rank_);
  const auto sums = [&](std::byte* device) {
    const auto part = [&](std::int64_t i) { return device + static_cast<std::size_t>(i) * width; };
    if (alike(counts)) {
      check(ncclReduceScatter(device, part(own), static_cast<std::size_t>(counts.front()),
                              type_of(all), ncclSum, queue_->comm, queue_->stream),
            "ncclReduceScatter", queue_->comm);
      return;
    }
    launch_parts(counts, queue_->comm, [&](int member, std::int64_t first, std::size_t count) {
      check(ncclReduce(part(first), part(first), count, type_of(all), ncclSum, member, queue_->comm,
                       queue_->stream),
            "ncclReduce", queue_->comm);
    });
  };
  return enqueue(all, 0, all.count(), sums, own, mine);
}

Request Group::start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                                  core::Tensor all) {
  if (all.count() == 0) return {};
  const std::size_t width = core::size_of(all.dtype());
  const std::int64_t own = first_of(counts, rank_);
  const auto copies = [&](std::byte* device) {
    const auto part = [&](std::int64_t i) { return device + static_cast<std::size_t>(i) * width; };
    if (alike(counts)) {
      check(ncclAllGather(part(own), device, static_cast<std::size_t>(counts.front()), type_of(all),
                          queue_->comm, queue_->stream),
            "ncclAllGather", queue_->comm);
      return;
    }
    launch_parts(counts, queue_->comm, [&](int member, std::int64_t first, std::size_t count) {
      check(ncclBroadcast(part(first), part(first), count, type_of(all), member, queue_->comm,
                          queue_->stream),
            "ncclBroadcast", queue_->comm);
    });
  };
  return enqueue(mine, own, all.count(), copies, 0, all);
}

}  // namespace isaribi::comm::nccl

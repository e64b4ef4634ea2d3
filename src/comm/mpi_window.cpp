// SPDX-License-Identifier: MIT
#include "comm/mpi_window.hpp"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <cstdint>
#include <exception>
#include <utility>

#include "comm/mpi_pending.hpp"

namespace isaribi::comm {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line; Open MPI promises less

/// Bytes that a shared segment may still have on this node; -1 when unknown.
std::int64_t shared_memory_left() {
  struct statvfs status {};
  if (statvfs("/dev/shm", &status) != 0) return -1;
  return static_cast<std::int64_t>(status.f_bavail) * static_cast<std::int64_t>(status.f_frsize);
}

class MpiWindow final : public SharedWindow {
 public:
  MpiWindow(MPI_Comm node, std::size_t bytes, std::shared_ptr<MpiShared> shared)
      : node_(node), bytes_(bytes), shared_(std::move(shared)) {
    const OneCaller caller(*shared_);
    int rank = 0;
    check_mpi(MPI_Comm_rank(node, &rank), "MPI_Comm_rank");
    require_room(bytes, rank);
    // All memory belongs to rank 0, so that it is one segment; room to align it, and never empty.
    const auto mine = static_cast<MPI_Aint>(rank == 0 ? bytes + kAlignment : 0);
    void* base = nullptr;
    check_mpi(MPI_Win_allocate_shared(mine, 1, MPI_INFO_NULL, node, &base, &window_),
              "MPI_Win_allocate_shared");
    MPI_Aint size = 0;
    int unit = 0;
    check_mpi(MPI_Win_shared_query(window_, 0, &size, &unit, &base), "MPI_Win_shared_query");
    // Rank 0 picks the first aligned byte. Pages are mapped whole, so it is aligned for every rank.
    auto shift = static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(base) % kAlignment);
    check_mpi(MPI_Bcast(&shift, 1, MPI_INT64_T, 0, node), "MPI_Bcast");
    data_ = static_cast<std::byte*>(base) + shift;
    // One passive epoch for the whole life: loads and stores need it, and MPI_Win_sync in fence()
    // is legal only in it.
    check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_), "MPI_Win_lock_all");
  }
  ~MpiWindow() override {
    if (std::uncaught_exceptions() != exceptions_) return;  // freeing is collective
    const OneCaller caller(*shared_);
    MPI_Win_unlock_all(window_);
    MPI_Win_free(&window_);
  }
  std::byte* data() override { return data_; }
  std::size_t bytes() const override { return bytes_; }
  void fence() override {
    const Waiting waiting(*shared_);
    check_mpi(MPI_Win_sync(window_), "MPI_Win_sync");
    check_mpi(MPI_Barrier(node_), "MPI_Barrier");
    check_mpi(MPI_Win_sync(window_), "MPI_Win_sync");
  }

 private:
  /// Asked before MPI is: where memory lacks, Open MPI 4.1 fails on the owning rank only and leaves
  /// the others waiting.
  void require_room(std::size_t bytes, int rank) const {
    std::int64_t left = rank == 0 ? shared_memory_left() : 0;
    check_mpi(MPI_Bcast(&left, 1, MPI_INT64_T, 0, node_), "MPI_Bcast");
    if (left < 0 || static_cast<std::uint64_t>(left) > bytes + kAlignment) return;
    throw core::CommError(
        fmt::format("cannot share {} bytes between the ranks of a node: /dev/shm has {} left",
                    bytes, left),
        "containers give /dev/shm 64 MiB unless told otherwise (docker --shm-size); old segments "
        "of "
        "killed jobs may lie there");
  }

  MPI_Comm node_;
  std::size_t bytes_;
  std::shared_ptr<MpiShared> shared_;
  MPI_Win window_ = MPI_WIN_NULL;
  std::byte* data_ = nullptr;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace

std::unique_ptr<SharedWindow> make_mpi_window(MPI_Comm node, std::size_t bytes,
                                              std::shared_ptr<MpiShared> shared) {
  return std::make_unique<MpiWindow>(node, bytes, std::move(shared));
}

}  // namespace isaribi::comm

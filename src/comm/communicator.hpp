// SPDX-License-Identifier: MIT
// Communicator: everything the program says to its other ranks, behind one interface, so that the
// layers above know no MPI. Two implementations: MPI, and serial (one rank, never touches MPI). All
// calls are made by the main thread of a rank, except abort(), which the watchdog may call, and
// those that a ProgressThread makes while requests are under way.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/sum_kernels.hpp"
#include "core/tensor.hpp"

namespace isaribi::comm {

enum class ReduceOp { sum, min, max };

/// A nonblocking operation under way. A default one is complete. Destroying it waits, except while
/// an exception unwinds the stack: then other ranks may never take part, so the operation and its
/// memory are abandoned.
class Request {
 public:
  /// What an implementation provides. It keeps the memory of the operation alive.
  class Pending {
   public:
    virtual ~Pending() = default;
    virtual bool test() = 0;
    virtual void wait() = 0;
    /// Changes whenever something of it has moved, as far as the implementation can tell.
    virtual std::int64_t moves() const { return 0; }
  };

  Request() = default;
  explicit Request(std::unique_ptr<Pending> pending) : pending_(std::move(pending)) {}
  Request(Request&&) noexcept = default;
  /// Finishes what this held before.
  Request& operator=(Request&& other) noexcept;
  ~Request();

  bool complete() const { return !pending_; }
  /// True once complete; also gives the library a chance to make progress. @throws core::CommError
  bool test();
  /// Changes whenever something of it has moved, as far as can be told.
  std::int64_t moves() const { return pending_ ? pending_->moves() : 0; }
  /// Returns once complete. @throws core::CommError
  void wait();

 private:
  void finish() noexcept;
  std::unique_ptr<Pending> pending_;
};

/// One segment of memory shared by the ranks of a node. Creating and destroying are collective
/// (destroying while an exception unwinds is local: the segment is abandoned to the end of the
/// job).
class SharedWindow {
 public:
  virtual ~SharedWindow() = default;
  SharedWindow() = default;
  SharedWindow(const SharedWindow&) = delete;
  SharedWindow& operator=(const SharedWindow&) = delete;
  /// The segment, aligned to 64 bytes, the same bytes on every rank of the node (at different
  /// addresses), not initialised.
  virtual std::byte* data() = 0;
  virtual std::size_t bytes() const = 0;
  /// Collective: what any rank wrote before it is visible to all after it.
  virtual void fence() = 0;
};

/// Where a rank tells its watchdog what it is doing (watchdog.hpp); lives in memory that peers on
/// the node can read.
struct CallBoard {
  std::atomic<std::uint32_t> waiting{0};  ///< 1 while blocked in a collective call
  std::atomic<std::uint32_t> leaving{0};  ///< 1 once this rank ends on purpose and has said why
};

/// Bytes handed to the collectives of one group since it was made, local. Every rank counts the
/// same.
struct Traffic {
  std::int64_t all_reduce = 0, reduce_scatter = 0, all_gather = 0, broadcast = 0;

  /// What each of `ranks` ranks sends for them, by the textbook: n bytes cost 2 n (P - 1) / P in a
  /// ring allreduce, n (P - 1) / P in a reduce-scatter or allgather of n bytes in all, and n in a
  /// pipelined broadcast; nothing where P = 1 (Thakur, Rabenseifner & Gropp 2005).
  double on_wire(int ranks) const;
  Traffic operator-(const Traffic& before) const;
};

class Communicator;
class Gpus;
/// What Communicator::reduce_scatter_v and all_gather_v ask of their arguments.
/// @throws core::InternalError naming `call`
void check_parts(std::string_view call, const Communicator& comm, const core::Tensor& all,
                 std::span<const std::int64_t> counts, const core::Tensor& mine);

/// A group of ranks. Unless said otherwise every call is collective over the group, and counts and
/// bytes beyond 2^31 are safe. @throws core::CommError with the text of the MPI library when a call
/// fails.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;          ///< local
  virtual int size() const = 0;          ///< local
  virtual std::string host() const = 0;  ///< local: name of this node
  bool is_root() const { return rank() == 0; }

  virtual void barrier() = 0;
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;

  /// Element-wise over ranks, in place, host memory, f64 f32 i32 i8 u8 (a plan that puts f16 or
  /// bf16 on the wire converts by itself, comm/reduction_plan.hpp). The same bits on every rank and
  /// in every run of the same size.
  virtual void all_reduce(core::Tensor in_place, ReduceOp op) = 0;
  /// As all_reduce, without waiting: the tensor must not be touched until the request is complete.
  /// Every rank must start its operations in the same order.
  virtual Request start_all_reduce(core::Tensor in_place, ReduceOp op) = 0;
  /// For counters and flags, which have no tensor type.
  virtual void all_reduce(std::span<std::int64_t> in_place, ReduceOp op) = 0;
  std::int64_t all_reduce(std::int64_t value, ReduceOp op);
  double all_reduce(double value, ReduceOp op);

  /// Part r of `all`, which is counts[r] elements behind those of the ranks before it, summed over
  /// ranks, ends in `mine` of rank r. f64, f32 or i32, host memory; `all` and counts are the same
  /// shape on every rank, and counts may be 0. `mine` is memory of its own, or this rank's part of
  /// `all`: then only that part of `all` changes. The same bits in every run of the same size.
  /// @throws core::InternalError when the counts do not fit the tensors.
  void reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts, core::Tensor mine);
  /// Without waiting: neither tensor may be touched until the request is complete. Every rank must
  /// start its operations in the same order.
  Request start_reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                 core::Tensor mine);
  /// `mine` of rank r becomes part r of `all` on every rank: the way back of reduce_scatter_v,
  /// under the same rules.
  void all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts, core::Tensor all);
  Request start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                             core::Tensor all);
  /// Local: what the collectives of this group have moved so far.
  const Traffic& traffic() const { return traffic_; }

  /// Same number of bytes from every rank; `all` holds size() * mine.size() bytes in rank order.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
  /// One string per rank, in rank order; lengths may differ.
  std::vector<std::string> all_gather_strings(const std::string& mine);
  /// The string of `root` on every rank.
  std::string broadcast_string(const std::string& mine, int root = 0);

  /// Rank r gets the r-th part of `send` and gives the rank-th of its own: parts in rank order,
  /// `send_bytes[r]` and `receive_bytes[r]` long. By messages between pairs. Both tensors u8, host,
  /// not to be touched until the request is complete. Every rank must start its operations in the
  /// same order.
  virtual Request start_all_to_all_v(core::Tensor send, std::span<const std::int64_t> send_bytes,
                                     core::Tensor receive,
                                     std::span<const std::int64_t> receive_bytes) = 0;

  /// The ranks that share memory with this one, in the order of this group.
  virtual std::unique_ptr<Communicator> split_node() = 0;
  /// Ranks of the same colour, ordered by `key`, those with equal keys by this group's rank; colour
  /// >= 0.
  virtual std::unique_ptr<Communicator> split(int colour, int key = 0) = 0;
  /// The same ranks, with messages of their own (a library, HDF5).
  virtual std::unique_ptr<Communicator> duplicate() = 0;
  /// Only on a group made by split_node(). @throws core::CommError when the node has no such memory
  /// left.
  virtual std::unique_ptr<SharedWindow> make_shared_window(std::size_t bytes) = 0;

  /// Local: ends the whole job now with this exit code, whatever other ranks do. Say why before.
  [[noreturn]] virtual void abort(core::ExitCode code) = 0;
  /// Local: the address of the MPI_Comm, or null for serial. Read it through comm/mpi_handle.hpp.
  virtual void* native_handle() const = 0;
  /// Local: where to note waiting and leaving from now on, for this group and all made from the
  /// same runtime; null: nowhere.
  virtual void publish_calls(CallBoard* board) = 0;
  /// Local: held during every call of the groups of this runtime; whoever holds it is the only one
  /// who communicates. Null where MPI allows calls of the main thread only.
  virtual std::recursive_mutex* calls() = 0;
  /// Local: the kernels by which plans of this runtime add and round, where they have some; null:
  /// none (comm/allreduce/sums.hpp then has loops that run anywhere).
  virtual core::SumKernelsOf kernels() const { return nullptr; }
  /// Local: the GPUs of the ranks of this runtime; null: none.
  virtual Gpus* gpus() const { return nullptr; }
  /// Local: holds calls(), if there is one, for a while that takes several calls.
  std::unique_lock<std::recursive_mutex> sole_caller();

 protected:
  Traffic traffic_;  ///< implementations count what they do not leave to another call

 private:
  /// With arguments that fit together; in place when `mine` lies in `all`.
  virtual Request do_start_reduce_scatter_v(core::Tensor all, std::vector<std::int64_t> counts,
                                            core::Tensor mine) = 0;
  virtual Request do_start_all_gather_v(core::Tensor mine, std::vector<std::int64_t> counts,
                                        core::Tensor all) = 0;
};

}  // namespace isaribi::comm

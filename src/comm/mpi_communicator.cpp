// SPDX-License-Identifier: MIT
#include "comm/mpi_communicator.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <system_error>
#include <thread>
#include <utility>

#include "comm/mpi_pending.hpp"
#include "comm/mpi_vector.hpp"
#include "comm/mpi_window.hpp"

namespace isaribi::comm {
namespace {

MPI_Op mpi_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return MPI_SUM;
    case ReduceOp::min:
      return MPI_MIN;
    case ReduceOp::max:
      return MPI_MAX;
  }
  return MPI_OP_NULL;
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, bool owned, std::shared_ptr<MpiShared> shared)
      : comm_(comm), owned_(owned), shared_(std::move(shared)) {
    const OneCaller caller(*shared_);
    // A failed call returns its code, and check_mpi throws: the library's default would end the
    // process without a word of ours.
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  }
  ~MpiCommunicator() override {
    // Freeing is collective: not while an exception unwinds only this rank.
    if (!owned_ || std::uncaught_exceptions() != exceptions_) return;
    const OneCaller caller(*shared_);
    MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string host() const override {
    const OneCaller caller(*shared_);
    char name[MPI_MAX_PROCESSOR_NAME] = {};
    int length = 0;
    check_mpi(MPI_Get_processor_name(name, &length), "MPI_Get_processor_name");
    return name;
  }

  void barrier() override {
    const Waiting waiting(*shared_);
    check_mpi(MPI_Barrier(comm_), "MPI_Barrier");
  }

  void broadcast(std::span<std::byte> bytes, int root) override {
    const Waiting waiting(*shared_);
    traffic_.broadcast += static_cast<std::int64_t>(bytes.size());
    in_pieces(bytes.size(), 1, shared_->piece_bytes, [&](std::size_t first, int n) {
      check_mpi(MPI_Bcast(bytes.data() + first, n, MPI_BYTE, root, comm_), "MPI_Bcast");
    });
  }

  using Communicator::all_reduce;
  void all_reduce(core::Tensor in_place, ReduceOp op) override {
    require_host(in_place);
    all_reduce_raw(in_place.raw(), static_cast<std::size_t>(in_place.count()),
                   core::size_of(in_place.dtype()), mpi_type(in_place.dtype()), op);
  }
  void all_reduce(std::span<std::int64_t> in_place, ReduceOp op) override {
    all_reduce_raw(in_place.data(), in_place.size(), sizeof(std::int64_t), MPI_INT64_T, op);
  }

  Request start_all_reduce(core::Tensor in_place, ReduceOp op) override {
    require_host(in_place);
    const OneCaller caller(*shared_);
    const MPI_Datatype type = mpi_type(in_place.dtype());
    const std::size_t width = core::size_of(in_place.dtype());
    auto* base = static_cast<std::byte*>(in_place.raw());
    std::vector<MPI_Request> requests;
    in_pieces(static_cast<std::size_t>(in_place.count()), width, shared_->piece_bytes,
              [&](std::size_t first, int n) {
                check_mpi(MPI_Iallreduce(MPI_IN_PLACE, base + first * width, n, type, mpi_op(op),
                                         comm_, &requests.emplace_back()),
                          "MPI_Iallreduce");
              });
    if (requests.empty()) return {};
    traffic_.all_reduce += static_cast<std::int64_t>(in_place.bytes());
    return Request(
        std::make_unique<MpiPending>(std::move(requests), std::vector{in_place}, shared_));
  }

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    if (all.size() != mine.size() * static_cast<std::size_t>(size_)) {
      throw core::InternalError("all_gather of " + std::to_string(mine.size()) + " bytes from " +
                                std::to_string(size_) + " ranks into " +
                                std::to_string(all.size()));
    }
    const Waiting waiting(*shared_);
    traffic_.all_gather += static_cast<std::int64_t>(all.size());
    in_pieces(mine.size(), 1, shared_->piece_bytes, [&](std::size_t first, int n) {
      // A piece of rank r goes to r * mine.size() + first: one element whose extent is the whole
      // contribution.
      MPI_Datatype piece = MPI_DATATYPE_NULL, strided = MPI_DATATYPE_NULL;
      check_mpi(MPI_Type_contiguous(n, MPI_BYTE, &piece), "MPI_Type_contiguous");
      check_mpi(MPI_Type_create_resized(piece, 0, static_cast<MPI_Aint>(mine.size()), &strided),
                "MPI_Type_create_resized");
      check_mpi(MPI_Type_commit(&strided), "MPI_Type_commit");
      const int code =
          MPI_Allgather(mine.data() + first, n, MPI_BYTE, all.data() + first, 1, strided, comm_);
      MPI_Type_free(&strided);
      MPI_Type_free(&piece);
      check_mpi(code, "MPI_Allgather");
    });
  }

  Request start_all_to_all_v(core::Tensor send, std::span<const std::int64_t> send_bytes,
                             core::Tensor receive,
                             std::span<const std::int64_t> receive_bytes) override {
    const OneCaller caller(*shared_);
    return start_all_to_all(comm_, shared_, std::move(send), send_bytes, std::move(receive),
                            receive_bytes);
  }

  std::unique_ptr<Communicator> split_node() override {
    const Waiting waiting(*shared_);
    MPI_Comm node = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node),
              "MPI_Comm_split_type");
    return make_mpi_communicator(node, true, shared_);
  }
  std::unique_ptr<Communicator> split(int colour, int key) override {
    const Waiting waiting(*shared_);
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(comm_, colour, key, &part), "MPI_Comm_split");
    return make_mpi_communicator(part, true, shared_);
  }
  std::unique_ptr<Communicator> duplicate() override {
    const Waiting waiting(*shared_);
    MPI_Comm copy = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(comm_, &copy), "MPI_Comm_dup");
    return make_mpi_communicator(copy, true, shared_);
  }
  std::unique_ptr<SharedWindow> make_shared_window(std::size_t bytes) override {
    const Waiting waiting(*shared_);
    return make_mpi_window(comm_, bytes, shared_);
  }

  [[noreturn]] void abort(core::ExitCode code) override;
  void* native_handle() const override { return const_cast<MPI_Comm*>(&comm_); }
  void publish_calls(CallBoard* board) override {
    shared_->board.store(board, std::memory_order_release);
  }
  std::recursive_mutex* calls() override {
    return shared_->several_threads ? &shared_->calls : nullptr;
  }
  core::SumKernelsOf kernels() const override { return shared_->kernels; }
  Gpus* gpus() const override { return shared_->gpus; }

 private:
  Request do_start_reduce_scatter_v(core::Tensor all, std::vector<std::int64_t> counts,
                                    core::Tensor mine) override {
    const OneCaller caller(*shared_);
    return start_reduce_scatter(comm_, shared_, std::move(all), counts, std::move(mine));
  }
  Request do_start_all_gather_v(core::Tensor mine, std::vector<std::int64_t> counts,
                                core::Tensor all) override {
    const OneCaller caller(*shared_);
    return start_all_gather(comm_, shared_, std::move(mine), counts, std::move(all));
  }
  static void require_host(const core::Tensor& tensor) {
    if (tensor.device().kind != core::Device::Kind::host) {
      throw core::InternalError("all_reduce of device memory: copy it to the host first");
    }
  }
  void all_reduce_raw(void* data, std::size_t count, std::size_t width, MPI_Datatype type,
                      ReduceOp op) {
    const Waiting waiting(*shared_);
    traffic_.all_reduce += static_cast<std::int64_t>(count * width);
    auto* base = static_cast<std::byte*>(data);
    in_pieces(count, width, shared_->piece_bytes, [&](std::size_t first, int n) {
      check_mpi(MPI_Allreduce(MPI_IN_PLACE, base + first * width, n, type, mpi_op(op), comm_),
                "MPI_Allreduce");
    });
  }

  MPI_Comm comm_;
  bool owned_;
  std::shared_ptr<MpiShared> shared_;
  int rank_ = 0, size_ = 1;
  int exceptions_ = std::uncaught_exceptions();
};

void MpiCommunicator::abort(core::ExitCode code) {
  if (CallBoard* board = shared_->board.load(std::memory_order_acquire)) board->leaving.store(1);
  // Neither flushing nor MPI_Abort may keep a broken job alive: this process ends in any case, and
  // a launcher that sees it end without finalisation ends the others.
  const int status = static_cast<int>(code);
  try {
    std::thread([status] {
      std::this_thread::sleep_for(std::chrono::seconds(2));
      _exit(status);
    }).detach();
  } catch (const std::system_error&) {
    // No thread to be had: MPI_Abort alone must do.
  }
  std::fflush(stdout);
  std::fflush(stderr);
  MPI_Abort(MPI_COMM_WORLD, status);
  _exit(status);
}

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm comm, bool owned,
                                                    std::shared_ptr<MpiShared> shared) {
  return std::make_unique<MpiCommunicator>(comm, owned, std::move(shared));
}

MPI_Datatype mpi_type(core::DType type) {
  switch (type) {
    case core::DType::f64:
      return MPI_DOUBLE;
    case core::DType::f32:
      return MPI_FLOAT;
    case core::DType::i32:
      return MPI_INT32_T;
    case core::DType::i8:
      return MPI_INT8_T;
    case core::DType::u8:
      return MPI_UINT8_T;
    case core::DType::f16:
    case core::DType::bf16:
      break;
  }
  throw core::InternalError("all_reduce of " + std::string(core::name_of(type)) +
                            ": MPI knows no such type, convert first");
}

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
  throw core::CommError(std::string(call) + " failed: " +
                            (length > 0 ? std::string(text) : "error " + std::to_string(code)),
                        "look for the first failing rank or node in the output of the launcher");
}

}  // namespace isaribi::comm

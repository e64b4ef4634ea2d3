// SPDX-License-Identifier: MIT
#include "comm/allreduce/message_queue.hpp"

#include <algorithm>
#include <utility>

#include "comm/mpi_communicator.hpp"
#include "comm/mpi_handle.hpp"

namespace isaribi::comm {

MessageQueue::MessageQueue(Communicator& comm) : comm_(mpi_comm(comm)) {
  if (comm_ == MPI_COMM_NULL) return;
  int* bound = nullptr;
  int known = 0;
  check_mpi(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &bound, &known), "MPI_Comm_get_attr");
  largest_tag_ = known != 0 ? *bound : 32767;  // the least that MPI promises
}

void MessageQueue::send(const void* data, std::int64_t bytes, int to, int tag,
                        std::function<void()> done) {
  check_mpi(
      MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, tag, comm_, &requests_.emplace_back()),
      "MPI_Isend");
  done_.push_back(std::move(done));
  peers_.push_back(to);
}

void MessageQueue::receive(void* data, std::int64_t bytes, int from, int tag,
                           std::function<void()> done) {
  check_mpi(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, tag, comm_,
                      &requests_.emplace_back()),
            "MPI_Irecv");
  done_.push_back(std::move(done));
  peers_.push_back(from);
}

bool MessageQueue::progress(bool block) {
  if (requests_.empty()) return false;
  const int all = static_cast<int>(requests_.size());
  int complete = 0;
  indices_.resize(requests_.size());
  statuses_.resize(requests_.size());
  const auto call = block ? MPI_Waitsome : MPI_Testsome;
  const int code = call(all, requests_.data(), &complete, indices_.data(), statuses_.data());
  if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) check_mpi(code, "MPI_Testsome");
  if (complete == MPI_UNDEFINED || complete == 0) return false;

  int failed = MPI_SUCCESS;
  std::vector<std::function<void()>> ready;
  for (int i = 0; i < complete; ++i) {
    const auto at = static_cast<std::size_t>(indices_[static_cast<std::size_t>(i)]);
    const int error =
        code == MPI_ERR_IN_STATUS ? statuses_[static_cast<std::size_t>(i)].MPI_ERROR : MPI_SUCCESS;
    if (error == MPI_SUCCESS) {
      ready.push_back(std::move(done_[at]));
    } else {
      failed = error;
    }
    requests_[at] = MPI_REQUEST_NULL;
    done_[at] = nullptr;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] == MPI_REQUEST_NULL) continue;
    requests_[kept] = requests_[i];
    peers_[kept] = peers_[i];
    if (kept != i) done_[kept] = std::move(done_[i]);
    ++kept;
  }
  requests_.resize(kept);
  done_.resize(kept);
  peers_.resize(kept);
  for (const std::function<void()>& done : ready) done();  // may post more
  check_mpi(failed, "MPI_Irecv");
  return true;
}

}  // namespace isaribi::comm

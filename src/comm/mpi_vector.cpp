// SPDX-License-Identifier: MIT
#include "comm/mpi_vector.hpp"

#include <cstring>
#include <numeric>

#include "comm/mpi_pending.hpp"

namespace isaribi::comm {
namespace {

/// Where part `rank` of `all` begins, in elements.
std::int64_t offset_of(const std::vector<std::int64_t>& counts, int rank) {
  return std::accumulate(counts.begin(), counts.begin() + rank, std::int64_t{0});
}

int rank_in(MPI_Comm comm) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  return rank;
}

std::byte* element(const core::Tensor& t, std::int64_t i) {
  return static_cast<std::byte*>(t.raw()) + static_cast<std::size_t>(i) * core::size_of(t.dtype());
}

bool in_one_piece(const core::Tensor& all, const MpiShared& shared) {
  return all.bytes() <= shared.piece_bytes;
}

/// Calls piece(root, address in `all`, elements) for every piece of every part.
template <typename Piece>
void in_pieces_of_parts(const core::Tensor& all, const std::vector<std::int64_t>& counts,
                        const MpiShared& shared, const Piece& piece) {
  const std::size_t width = core::size_of(all.dtype());
  for (int root = 0; root < static_cast<int>(counts.size()); ++root) {
    const std::int64_t offset = offset_of(counts, root);
    in_pieces(static_cast<std::size_t>(counts[static_cast<std::size_t>(root)]), width,
              shared.piece_bytes, [&](std::size_t first, int n) {
                piece(root, offset + static_cast<std::int64_t>(first), n);
              });
  }
}

}  // namespace

Request start_reduce_scatter(MPI_Comm comm, const std::shared_ptr<MpiShared>& shared,
                             core::Tensor all, const std::vector<std::int64_t>& counts,
                             core::Tensor mine) {
  if (all.count() == 0) return {};
  const MPI_Datatype type = mpi_type(all.dtype());
  const int rank = rank_in(comm);
  const std::int64_t offset = offset_of(counts, rank);
  const bool in_place = mine.count() > 0 && mine.raw() == element(all, offset);
  std::vector<MPI_Request> requests;
  if (!in_one_piece(all, *shared)) {
    in_pieces_of_parts(all, counts, *shared, [&](int root, std::int64_t first, int n) {
      const void* from = root == rank && in_place ? MPI_IN_PLACE : element(all, first);
      void* to = root == rank ? element(mine, first - offset) : nullptr;
      check_mpi(MPI_Ireduce(from, to, n, type, MPI_SUM, root, comm, &requests.emplace_back()),
                "MPI_Ireduce");
    });
    return Request(
        std::make_unique<MpiPending>(std::move(requests), std::vector{all, mine}, shared));
  }
  // MPI's own "in place" would put the result at the beginning of `all`.
  const core::Tensor to = in_place ? core::Tensor(mine.shape(), mine.dtype()) : mine;
  std::vector<int> sizes(counts.begin(), counts.end());
  check_mpi(MPI_Ireduce_scatter(all.raw(), to.raw(), sizes.data(), type, MPI_SUM, comm,
                                &requests.emplace_back()),
            "MPI_Ireduce_scatter");
  auto pending =
      std::make_unique<MpiPending>(std::move(requests), std::vector{all, mine, to}, shared);
  pending->arguments = std::move(sizes);
  if (in_place) pending->finish = [mine, to] { std::memcpy(mine.raw(), to.raw(), to.bytes()); };
  return Request(std::move(pending));
}

Request start_all_gather(MPI_Comm comm, const std::shared_ptr<MpiShared>& shared, core::Tensor mine,
                         const std::vector<std::int64_t>& counts, core::Tensor all) {
  if (all.count() == 0) return {};
  const MPI_Datatype type = mpi_type(all.dtype());
  // All ranks together must either work in place or not; some may have nothing to give.
  std::byte* part = element(all, offset_of(counts, rank_in(comm)));
  if (mine.count() > 0 && mine.raw() != part) std::memcpy(part, mine.raw(), mine.bytes());
  std::vector<MPI_Request> requests;
  if (!in_one_piece(all, *shared)) {
    in_pieces_of_parts(all, counts, *shared, [&](int root, std::int64_t first, int n) {
      check_mpi(MPI_Ibcast(element(all, first), n, type, root, comm, &requests.emplace_back()),
                "MPI_Ibcast");
    });
    return Request(std::make_unique<MpiPending>(std::move(requests), std::vector{all}, shared));
  }
  std::vector<int> arguments(counts.begin(), counts.end());  // counts, then displacements
  arguments.resize(2 * counts.size());
  std::exclusive_scan(counts.begin(), counts.end(),
                      arguments.begin() + static_cast<std::ptrdiff_t>(counts.size()), 0);
  check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all.raw(), arguments.data(),
                            arguments.data() + counts.size(), type, comm, &requests.emplace_back()),
            "MPI_Iallgatherv");
  auto pending = std::make_unique<MpiPending>(std::move(requests), std::vector{all}, shared);
  pending->arguments = std::move(arguments);
  return Request(std::move(pending));
}

Request start_all_to_all(MPI_Comm comm, const std::shared_ptr<MpiShared>& shared, core::Tensor send,
                         std::span<const std::int64_t> send_bytes, core::Tensor receive,
                         std::span<const std::int64_t> receive_bytes) {
  constexpr int kTag = 1;  // messages of one pair arrive in the order in which they were sent
  const int rank = rank_in(comm), size = static_cast<int>(send_bytes.size());
  std::vector<MPI_Request> requests;
  std::byte *to = element(receive, 0), *own = nullptr;
  for (int r = 0; r < size; ++r) {
    const auto bytes = static_cast<std::size_t>(receive_bytes[static_cast<std::size_t>(r)]);
    if (r == rank) {
      own = to;
    } else {
      in_pieces(bytes, 1, shared->piece_bytes, [&](std::size_t first, int n) {
        check_mpi(MPI_Irecv(to + first, n, MPI_BYTE, r, kTag, comm, &requests.emplace_back()),
                  "MPI_Irecv");
      });
    }
    to += bytes;
  }
  const std::byte* from = element(send, 0);
  for (int r = 0; r < size; ++r) {
    const auto bytes = static_cast<std::size_t>(send_bytes[static_cast<std::size_t>(r)]);
    if (r == rank) {
      if (bytes > 0) std::memcpy(own, from, bytes);
    } else {
      in_pieces(bytes, 1, shared->piece_bytes, [&](std::size_t first, int n) {
        check_mpi(MPI_Isend(from + first, n, MPI_BYTE, r, kTag, comm, &requests.emplace_back()),
                  "MPI_Isend");
      });
    }
    from += bytes;
  }
  if (requests.empty()) return {};
  return Request(std::make_unique<MpiPending>(
      std::move(requests), std::vector<core::Tensor>{std::move(send), std::move(receive)}, shared));
}

}  // namespace isaribi::comm

// SPDX-License-Identifier: MIT
#include "comm/reduction_plan.hpp"

#include <utility>

#include "comm/owner_exchange.hpp"

namespace isaribi::comm {
namespace {

/// The library's own nonblocking allreduce: the peer that every other plan is measured against.
class LibraryPlan final : public AllReducePlan {
 public:
  explicit LibraryPlan(Communicator& comm) : comm_(comm) {}
  std::string name() const override { return "mpi"; }
  std::string description() const override {
    return "MPI_Iallreduce over " + std::to_string(comm_.size()) + " ranks";
  }

 private:
  Request do_start(core::Tensor bucket, core::Tensor) override {
    return comm_.start_all_reduce(std::move(bucket), ReduceOp::sum);
  }

  Communicator& comm_;
};

/// Every rank sums one part of the bucket, in rank order and in f64, and gives it to all: the bits
/// are those of any other exchange that adds in rank order, whatever the size of buckets.
class RankOrderPlan final : public AllReducePlan {
 public:
  explicit RankOrderPlan(Communicator& comm) : comm_(comm) {}
  std::string name() const override { return "rank_order"; }
  std::string description() const override {
    return "direct exchange and allgather over " + std::to_string(comm_.size()) +
           " ranks, sums in rank order: the same bits however gradients are cut and placed";
  }

 private:
  class Exchange final : public Request::Pending {
   public:
    Exchange(Communicator& comm, core::Tensor bucket)
        : comm_(comm), reducer_(comm, ~std::size_t{0}) {
      const std::int64_t count = bucket.count(), ranks = comm.size();
      for (std::int64_t r = 0; r < ranks; ++r) {
        const std::int64_t begin = count * r / ranks, end = count * (r + 1) / ranks;
        parts_.push_back({bucket.slice(begin, {end - begin}), static_cast<int>(r)});
        reducer_.add(parts_.back().tensor, static_cast<int>(r), bucket.dtype());
      }
      reducer_.start();
    }
    // The second half is begun by wait(), which all ranks call in the same order.
    bool test() override {
      reducer_.progress();
      return false;
    }
    void wait() override {
      reducer_.finish();
      share_owned(comm_, parts_);
    }

   private:
    Communicator& comm_;
    OwnerReducer reducer_;
    std::vector<Owned> parts_;
  };

  Request do_start(core::Tensor bucket, core::Tensor) override {
    if (comm_.size() == 1) return {};
    return Request(std::make_unique<Exchange>(comm_, std::move(bucket)));
  }

  Communicator& comm_;
};

}  // namespace

std::vector<std::string> allreduce_plan_names() {
  return {"mpi", "rank_order"};
}

std::unique_ptr<AllReducePlan> make_allreduce_plan(std::string_view key, Communicator& comm) {
  if (key == "mpi") return std::make_unique<LibraryPlan>(comm);
  if (key == "rank_order") return std::make_unique<RankOrderPlan>(comm);
  std::string known;
  for (const std::string& name : allreduce_plan_names()) {
    known += (known.empty() ? "" : ", ") + name;
  }
  throw core::UsageError("comm/allreduce: there is no plan \"" + std::string(key) + "\"",
                         "choose one of: " + known);
}

}  // namespace isaribi::comm

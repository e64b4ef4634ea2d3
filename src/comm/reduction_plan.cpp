// SPDX-License-Identifier: MIT
#include "comm/reduction_plan.hpp"

#include <utility>

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
  Request start(core::Tensor bucket) override {
    return comm_.start_all_reduce(std::move(bucket), ReduceOp::sum);
  }

 private:
  Communicator& comm_;
};

}  // namespace

std::vector<std::string> allreduce_plan_names() {
  return {"mpi"};
}

std::unique_ptr<AllReducePlan> make_allreduce_plan(std::string_view key, Communicator& comm) {
  if (key == "mpi") return std::make_unique<LibraryPlan>(comm);
  std::string known;
  for (const std::string& name : allreduce_plan_names()) {
    known += (known.empty() ? "" : ", ") + name;
  }
  throw core::UsageError("comm/allreduce: there is no plan \"" + std::string(key) + "\"",
                         "choose one of: " + known);
}

}  // namespace isaribi::comm

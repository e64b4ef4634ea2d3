// SPDX-License-Identifier: MIT
// What ranks must agree on: facts at start, and errors that only some of them meet.
#include "comm/agreement.hpp"

#include "harness.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::CollectiveError;
using comm::Communicator;

namespace {

/// The CollectiveError of `work`; every rank must throw one with the same text.
template <typename Work>
CollectiveError error_of(Communicator& world, Work work) {
  try {
    work();
  } catch (const CollectiveError& error) {
    expect(world.broadcast_string(error.what()) == error.what(), "the same text on every rank");
    return error;
  }
  throw Failed("no error on rank " + std::to_string(world.rank()));
}

void equal_items_pass(Communicator& world) {
  comm::check_agreement(world, {{"program build", "1.0+abc"}, {"deck", "12ab"}});
  comm::check_agreement(world, {});
}

void a_difference_names_ranks_and_hosts(Communicator& world) {
  if (world.size() == 1) return;
  const bool odd_one = world.rank() == world.size() - 1;
  const CollectiveError error = error_of(world, [&] {
    comm::check_agreement(world, {{"program build", "1.0"}, {"deck", odd_one ? "bbbb" : "aaaa"}});
  });
  expect_equal(static_cast<int>(error.code()), static_cast<int>(core::ExitCode::comm));
  const std::string last = std::to_string(world.size() - 1);
  expect_in("deck:", error.cause());
  expect_in("bbbb  (rank " + last + " on " + world.host() + ")", error.cause());
  expect_in(world.size() == 2 ? "aaaa  (rank 0 on" : "aaaa  (ranks 0-", error.cause());
  expect(error.cause().find("program build") == std::string::npos, "what agrees is not named");
}

void a_missing_item_is_a_difference(Communicator& world) {
  if (world.size() == 1) return;
  std::vector<comm::AgreementItem> items = {{"deck", "a"}};
  if (world.rank() == 0) items.push_back({"training data", "77"});
  const CollectiveError error = error_of(world, [&] { comm::check_agreement(world, items); });
  expect_in("training data", error.cause());
  expect_in("(not told)", error.cause());
}

void an_error_of_one_rank_reaches_all(Communicator& world) {
  comm::run_together(world, [] {});
  const int culprit = world.size() / 2;
  const CollectiveError error = error_of(world, [&] {
    comm::run_together(world, [&] {
      if (world.rank() == culprit) throw core::DataError("train.h5", "truncated", "convert again");
    });
  });
  expect_equal(static_cast<int>(error.code()), static_cast<int>(core::ExitCode::data));
  expect_in("train.h5: truncated", error.cause());
  expect_in("convert again", error.hint());
  if (world.size() > 1) expect_in("rank " + std::to_string(culprit) + " on ", error.cause());
}

void an_error_of_all_is_told_once(Communicator& world) {
  const CollectiveError error = error_of(
      world, [&] { comm::run_together(world, [] { throw core::UsageError("no such key"); }); });
  expect_equal(error.cause(), std::string("no such key"));
}

void an_error_of_the_root_reaches_all(Communicator& world) {
  int calls = 0;
  comm::run_on_root(world, [&] { ++calls; });
  expect_equal(calls, world.is_root() ? 1 : 0);
  const CollectiveError error = error_of(
      world, [&] { comm::run_on_root(world, [] { throw std::runtime_error("surprise"); }); });
  expect_equal(static_cast<int>(error.code()), static_cast<int>(core::ExitCode::internal));
  expect_in("surprise", error.cause());
}

void a_reason_of_one_rank_reaches_all(Communicator& world) {
  expect_equal(comm::agree_on_reason(world, ""), std::string());
  const bool mine = world.rank() == world.size() - 1;
  expect_equal(comm::agree_on_reason(world, mine ? "signal USR1" : ""), std::string("signal USR1"));
  expect_equal(comm::agree_on_reason(world, "rank " + std::to_string(world.rank())),
               std::string("rank 0"));
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"equal items pass", equal_items_pass},
                    {"a difference names ranks and hosts", a_difference_names_ranks_and_hosts},
                    {"a missing item is a difference", a_missing_item_is_a_difference},
                    {"an error of one rank reaches all", an_error_of_one_rank_reaches_all},
                    {"an error of all is told once", an_error_of_all_is_told_once},
                    {"an error of the root reaches all", an_error_of_the_root_reaches_all},
                    {"a reason of one rank reaches all", a_reason_of_one_rank_reaches_all}});
}

// SPDX-License-Identifier: MIT
// Plans and sizes as text, and groups of ranks.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "catch.hpp"
#include "comm/allreduce/plan_choice.hpp"
#include "comm/allreduce/topology.hpp"
#include "core/error.hpp"

using namespace isaribi;
using comm::Exchange;
using comm::Hierarchy;
using comm::RankOrder;
using comm::Topology;

namespace {

template <typename Work>
std::string cause_of(const Work& work) {
  try {
    work();
  } catch (const core::UsageError& error) {
    CHECK_FALSE(error.hint().empty());
    return error.cause();
  }
  return "no error";
}

std::string in_quotes(const std::string& text) {
  std::string quoted = text;
  quoted.insert(quoted.begin(), '"');
  quoted.push_back('"');
  return quoted;
}

/// Ranks of each group of a level, in the order of the machine.
std::vector<std::vector<int>> ranks_of(const Hierarchy& hierarchy, int level) {
  std::vector<std::vector<int>> all;
  for (const Hierarchy::Group& group : hierarchy.groups(level)) {
    all.emplace_back();
    for (int p = 0; p < group.positions; ++p) {
      all.back().push_back(hierarchy.rank_at(group.first_position + p));
    }
  }
  return all;
}

Hierarchy along(const RankOrder& order, const std::string& levels) {
  return {order, comm::parse_levels(levels)};
}

std::uint64_t signature(const std::string& levels, int ranks = 8) {
  return along(RankOrder::flat(ranks), levels).sum_signature();
}

using Ranks = std::vector<std::vector<int>>;

}  // namespace

TEST_CASE("levels and plans: text and back") {
  for (const char* text :
       {"ring1", "ring8", "direct2-ring4", "direct2-direct17-ring383", "direct2147483647"}) {
    CHECK(comm::to_text(comm::parse_levels(text)) == text);
    CHECK(comm::parse_plan(text).text() == text);
    CHECK(comm::parse_plan(text).segment_bytes == 0);
  }
  const comm::PlanChoice plan = comm::parse_plan("direct2-ring4/96K");
  CHECK(plan.levels ==
        std::vector<comm::HierarchyLevel>{{Exchange::direct, 2}, {Exchange::ring, 4}});
  CHECK(plan.segment_bytes == 96 * 1024);
  CHECK(plan.text() == "direct2-ring4/96K");
  CHECK(comm::parse_plan("ring4/1024K").text() == "ring4/1M");
  CHECK(comm::parse_plan("mpi").library());
  CHECK(comm::parse_plan("mpi").text() == "mpi");
}

TEST_CASE("levels: what cannot be read is named") {
  const std::pair<const char*, const char*> bad[] = {{"", ""},
                                                     {"ring", "ring"},
                                                     {"ring0", "ring0"},
                                                     {"ring4x", "ring4x"},
                                                     {"ring 4", "ring 4"},
                                                     {"tree4", "tree4"},
                                                     {"Ring4", "Ring4"},
                                                     {"ring2-", ""},
                                                     {"-ring2", ""},
                                                     {"ring2--ring2", ""},
                                                     {"ring2-4", "4"},
                                                     {"direct-4", "direct"},
                                                     {"ring+4", "ring+4"},
                                                     {"mpi-ring2", "mpi"},
                                                     {"ring2147483648", "ring2147483648"},
                                                     {"4", "4"},
                                                     {"ring4,ring2", "ring4,ring2"}};
  for (const auto& [text, word] : bad) {
    std::string cause = "hierarchy ";
    cause.append(in_quotes(text)).append(": ").append(in_quotes(word));
    cause.append(" is not ring, direct, shared, mpi or nccl with a number of members");
    CHECK(cause_of([&] { comm::parse_levels(text); }) == cause);
    CHECK(cause_of([&] { comm::parse_plan(text); }) == cause);
  }
  CHECK(cause_of([] { comm::parse_plan("mpi/1M"); }).find("\"mpi\"") != std::string::npos);
}

TEST_CASE("bytes: text and back, and what cannot be read") {
  const std::pair<const char*, std::int64_t> good[] = {{"1", 1},
                                                       {"1000", 1000},
                                                       {"1023", 1023},
                                                       {"64K", 65536},
                                                       {"1025K", 1025 * 1024},
                                                       {"16M", 16 << 20},
                                                       {"3G", std::int64_t{3} << 30},
                                                       {"1048576G", std::int64_t{1} << 50}};
  for (const auto& [text, bytes] : good) {
    CHECK(comm::parse_bytes(text) == bytes);
    CHECK(comm::bytes_to_text(bytes) == text);
  }
  CHECK(comm::bytes_to_text(0) == "0");
  CHECK(comm::parse_bytes("2048") == comm::parse_bytes("2K"));
  for (const char* text : {"", "0", "0K", "-1", "+1", " 1", "1 ", "K", "1k", "1T", "1KB", "1.5M",
                           "1e6", "1048577G", "1125899906842625", "99999999999999999999", "ten"}) {
    const std::string cause = in_quotes(text).append(" is not a number of bytes");
    CHECK(cause_of([&] { comm::parse_bytes(text); }) == cause);
    CHECK(cause_of([&] { comm::parse_plan(std::string("ring4/").append(text)); }) == cause);
  }
}

TEST_CASE("ordered factorisations: as many as there are, each multiplies to n, none twice") {
  const std::pair<int, std::size_t> counts[] = {{1, 1},       {2, 1},      {12, 8},     {13, 1},
                                                {64, 32},     {512, 256},  {544, 112},  {1024, 512},
                                                {2048, 1024}, {2176, 576}, {4352, 1280}};
  for (const auto& [n, count] : counts) {
    std::vector<std::vector<int>> all = comm::ordered_factorisations(n);
    CHECK(all.size() == count);
    for (const std::vector<int>& factors : all) {
      int product = 1;
      for (const int f : factors) {
        CHECK(f >= 2);
        product *= f;
      }
      CHECK(product == n);
    }
    std::sort(all.begin(), all.end());
    CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
  }
  CHECK(comm::ordered_factorisations(1) == std::vector<std::vector<int>>{{}});
}

TEST_CASE("groups: even ones, and a smaller last one") {
  const Hierarchy even = along(RankOrder::flat(8), "direct2-ring4");
  CHECK(ranks_of(even, 0) == Ranks{{0, 1}, {2, 3}, {4, 5}, {6, 7}});
  CHECK(even.groups(1).front().members == std::vector<int>{0, 1, 2, 3});
  const Hierarchy rest = along(RankOrder::flat(7), "ring3-direct3");
  CHECK(ranks_of(rest, 0) == Ranks{{0, 1, 2}, {3, 4, 5}, {6}});
  CHECK(rest.group_of(0, 0) == 0);
  CHECK(rest.group_of(0, 5) == 1);
  CHECK(rest.group_of(0, 6) == 2);
  CHECK(rest.group_of(1, 6) == 0);
  CHECK(ranks_of(along(RankOrder::flat(1), "ring1"), 0) == Ranks{{0}});
  CHECK(ranks_of(along(RankOrder::flat(3), "ring8"), 0) == Ranks{{0, 1, 2}});
}

TEST_CASE("groups: domains are respected until a level is larger than them") {
  RankOrder order = RankOrder::flat(8);  // nodes of 1, 3, 2, 2 ranks, two a rack
  order.domains = {{0, 1, 1, 1, 2, 2, 3, 3}, {0, 0, 0, 0, 1, 1, 1, 1}};
  const Hierarchy nodes = along(order, "direct3-ring2-direct2");
  CHECK(ranks_of(nodes, 0) == Ranks{{0}, {1, 2, 3}, {4, 5}, {6, 7}});
  CHECK(ranks_of(nodes, 1) == Ranks{{0, 1, 2, 3}, {4, 5, 6, 7}});
  CHECK(ranks_of(along(order, "ring2-ring2-ring2-ring2"), 0) ==
        Ranks{{0}, {1, 2}, {3}, {4, 5}, {6, 7}});
  // Larger than a node: racks count; larger than a rack: nothing does.
  CHECK(ranks_of(along(order, "ring4-direct2"), 0) == Ranks{{0, 1, 2, 3}, {4, 5, 6, 7}});
  CHECK(ranks_of(along(order, "ring5-direct2"), 0) == Ranks{{0, 1, 2, 3, 4}, {5, 6, 7}});
  CHECK(ranks_of(along(order, "ring8"), 0) == Ranks{{0, 1, 2, 3, 4, 5, 6, 7}});

  order.ranks = {7, 6, 5, 4, 3, 2, 1, 0};
  const Hierarchy backwards = along(order, "direct3-ring2-direct2");
  CHECK(ranks_of(backwards, 0) == Ranks{{7}, {6, 5, 4}, {3, 2}, {1, 0}});
  for (int rank = 0; rank < 8; ++rank)
    CHECK(backwards.rank_at(backwards.position_of(rank)) == rank);
}

TEST_CASE("groups: levels that leave ranks apart are refused") {
  CHECK(cause_of([] { along(RankOrder::flat(8), "ring2-ring3"); }) ==
        "hierarchy \"ring2-ring3\" leaves 2 groups of 8 ranks apart");
  CHECK(cause_of([] { along(RankOrder::flat(3), "direct1"); }) ==
        "hierarchy \"direct1\" leaves 3 groups of 3 ranks apart");
  RankOrder order = RankOrder::flat(4);
  order.domains = {{0, 1, 1, 1}};  // 2 x 2 would do without the nodes
  CHECK(cause_of([&] { along(order, "ring2-ring2"); }) ==
        "hierarchy \"ring2-ring2\" leaves 2 groups of 4 ranks apart");
}

TEST_CASE("signatures of sums: equal for one binary tree, whatever the levels") {
  CHECK(signature("direct2-direct2-direct2") != 0);
  CHECK(signature("direct2-direct2-direct2") == signature("direct8"));
  CHECK(signature("direct4-direct2") == signature("direct8"));
  CHECK(signature("direct2-direct4") == signature("direct8"));
  CHECK(signature("ring2-ring2-direct2") == signature("direct8"));  // a ring of two is direct
  CHECK(signature("direct8-direct1") == signature("direct8"));
  CHECK(signature("ring8") == 0);
  CHECK(signature("direct2-ring4") == 0);
  CHECK(signature("ring3-direct3") == 0);
  CHECK(signature("direct3-direct2", 6) != signature("direct2-direct3", 6));
  CHECK(signature("direct2-direct3", 6) == signature("direct6", 6));
  CHECK(signature("direct3-direct2", 6) != signature("direct6", 6));
  CHECK(signature("direct8", 8) != signature("direct9", 9));
  RankOrder swapped = RankOrder::flat(8), crossed = RankOrder::flat(8);
  std::swap(swapped.ranks[0], swapped.ranks[1]);  // a + b = b + a
  std::swap(crossed.ranks[1], crossed.ranks[2]);  // (a + b) + (c + d) is not (a + c) + (b + d)
  CHECK(along(swapped, "direct8").sum_signature() == signature("direct8"));
  CHECK(along(crossed, "direct8").sum_signature() != signature("direct8"));
}

TEST_CASE("candidates: every one fits, none twice, and the known ones are among them") {
  const std::pair<Topology, std::vector<std::string>> machines[] = {
      {comm::regular_topology(8, 2, 4),
       {"direct2-ring4", "direct2-direct4", "ring8", "direct2-direct2-direct2", "shared2-ring4",
        "shared2-direct2-direct2", "direct2-mpi4", "shared2-mpi4"}},
      {comm::regular_topology(16, 2, 4),
       {"direct2-direct4-direct2", "direct2-ring4-direct2", "direct16"}},
      {comm::regular_topology(272, 4, 34),
       {"direct4-ring34-direct2", "direct4-direct2-ring17-direct2"}},
      {comm::regular_topology(13, 2, 100), {"direct2-ring7", "ring13", "direct2-direct2-direct4"}}};
  for (const auto& [topology, known] : machines) {
    std::vector<std::string> texts;
    for (const auto& levels : comm::candidate_levels(topology)) {
      CHECK_NOTHROW(comm::check_plan(topology, {levels, 0}, std::nullopt));
      texts.push_back(comm::to_text(levels));
    }
    for (const auto& levels : comm::candidate_levels(topology, true)) {
      const std::string text = comm::to_text(levels);
      CHECK(text.find("shared") == std::string::npos);
      CHECK(text.find("mpi") == std::string::npos);
    }
    std::sort(texts.begin(), texts.end());
    CHECK(std::adjacent_find(texts.begin(), texts.end()) == texts.end());
    for (const std::string& text : known) {
      INFO(text << " of " << topology.description());
      CHECK(std::binary_search(texts.begin(), texts.end(), text));
    }
  }
}

TEST_CASE("a plan that does not fit the machine is refused with a reason") {
  const Topology nodes = comm::regular_topology(8, 2, 4), uneven = comm::regular_topology(7, 2, 4);
  const auto why = [](const Topology& topology, const char* plan, std::optional<core::DType> wire) {
    const auto cause = cause_of([&] { comm::check_plan(topology, comm::parse_plan(plan), wire); });
    return cause == "no error" ? "" : cause;
  };
  const auto narrow = core::DType::bf16;
  CHECK(why(nodes, "mpi", narrow).empty());
  CHECK(why(nodes, "shared2-direct4/1M", narrow).empty());
  CHECK(why(nodes, "mpi2-direct4", narrow).empty());  // inside a node elements stay wide
  CHECK(why(nodes, "shared2-mpi4", std::nullopt).empty());
  CHECK(why(nodes, "shared4-ring2", std::nullopt) ==
        "plan shared4-ring2: level shared4 joins ranks of several nodes, which share no memory");
  CHECK(why(nodes, "shared2-mpi4", narrow) ==
        "plan shared2-mpi4: level mpi4 is of the library, which cannot send bf16");
  CHECK(why(nodes, "nccl2-direct4", std::nullopt).find("nccl2 needs a GPU of its own") !=
        std::string::npos);
  Topology gpus = nodes;
  gpus.why_no_gpus.clear();
  CHECK(why(gpus, "nccl2-direct4", narrow).empty());
  CHECK(why(gpus, "nccl8", std::nullopt).empty());
  CHECK(why(gpus, "nccl2-nccl4", narrow) ==
        "plan nccl2-nccl4: level nccl4 is of NCCL, which cannot send bf16");
  CHECK(why(uneven, "shared2-mpi4", std::nullopt).find("are uneven") != std::string::npos);
  CHECK(why(uneven, "shared2-ring4", std::nullopt).empty());
  CHECK(why(nodes, "shared2-ring2", std::nullopt).find("apart") != std::string::npos);
}

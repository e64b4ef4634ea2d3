// SPDX-License-Identifier: MIT
#include "comm/agreement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string_view>

namespace isaribi::comm {
namespace {

constexpr char kSeparator = '\x1f';  // ASCII unit separator: in no name, hash or message

/// FNV-1a, 64 bit: only to notice a difference; the strings themselves say what differs.
std::int64_t fingerprint(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return static_cast<std::int64_t>(h);
}

bool same_everywhere(Communicator& comm, std::string_view text) {
  std::int64_t range[2] = {fingerprint(text), ~fingerprint(text)};  // min of ~x is ~max of x
  comm.all_reduce(std::span<std::int64_t>(range), ReduceOp::min);
  return range[0] == ~range[1];
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == kSeparator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

/// "ranks 0-3, 6" and the hosts they are on.
std::string describe(const std::vector<int>& ranks, const std::vector<std::string>& hosts) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t j = i;
    while (j + 1 < ranks.size() && ranks[j + 1] == ranks[j] + 1) ++j;
    if (i > 0) text += ", ";
    text += j > i ? fmt::format("{}-{}", ranks[i], ranks[j]) : fmt::format("{}", ranks[i]);
    i = j + 1;
  }
  std::vector<std::string> names;
  for (const int r : ranks) {
    const std::string& host = hosts[static_cast<std::size_t>(r)];
    if (std::find(names.begin(), names.end(), host) == names.end()) names.push_back(host);
  }
  text += " on " + names.front();
  constexpr std::size_t kShown = 4;
  for (std::size_t i = 1; i < std::min(names.size(), kShown); ++i) text += ", " + names[i];
  if (names.size() > kShown) text += fmt::format(" and {} more hosts", names.size() - kShown);
  return text;
}

/// What the ranks say about one item, or empty when they agree.
std::string difference(const std::string& name, const std::vector<std::string>& values,
                       const std::vector<std::string>& hosts) {
  std::map<std::string, std::vector<int>> holders;
  for (std::size_t r = 0; r < values.size(); ++r) holders[values[r]].push_back(static_cast<int>(r));
  if (holders.size() == 1) return {};
  std::vector<std::pair<std::vector<int>, std::string>> order;
  for (const auto& [value, ranks] : holders) order.emplace_back(ranks, value);
  std::sort(order.begin(), order.end());
  std::string text = fmt::format("\n  {}:", name);
  for (const auto& [ranks, value] : order) {
    text += fmt::format("\n    {}  ({})", value, describe(ranks, hosts));
  }
  return text;
}

/// Outcome of some work as a message that other ranks can take: empty when good.
struct Failure {
  bool failed = false;
  core::ExitCode code = core::ExitCode::internal;
  std::string cause, hint;

  std::string pack() const {
    return std::to_string(static_cast<int>(code)) + kSeparator + cause + kSeparator + hint;
  }
  static Failure unpack(const std::string& text) {
    const std::vector<std::string> parts = split(text);
    return {true, static_cast<core::ExitCode>(std::stoi(parts.at(0))), parts.at(1), parts.at(2)};
  }
};

Failure attempt(const std::function<void()>& work) {
  try {
    work();
  } catch (const core::Error& error) {
    return {true, error.code(), error.cause(), error.hint()};
  } catch (const std::exception& error) {
    return {true, core::ExitCode::internal, error.what(), ""};
  }
  return {};
}

}  // namespace

void run_together(Communicator& comm, const std::function<void()>& work) {
  const Failure mine = attempt(work);
  std::int64_t sums[1] = {mine.failed ? 1 : 0};
  comm.all_reduce(std::span<std::int64_t>(sums), ReduceOp::sum);
  const std::int64_t failures = sums[0];
  if (failures == 0) return;
  const auto speaker = static_cast<int>(
      comm.all_reduce(std::int64_t{mine.failed ? comm.rank() : comm.size()}, ReduceOp::min));
  Failure first = Failure::unpack(comm.broadcast_string(mine.pack(), speaker));
  const std::string host = comm.broadcast_string(comm.host(), speaker);
  if (failures != comm.size()) first.cause += fmt::format(" (rank {} on {})", speaker, host);
  throw CollectiveError(first.code, first.cause, first.hint);
}

void run_on_root(Communicator& comm, const std::function<void()>& work) {
  const Failure mine = comm.is_root() ? attempt(work) : Failure{};
  const std::string text = comm.broadcast_string(mine.failed ? mine.pack() : std::string());
  if (text.empty()) return;
  const Failure failure = Failure::unpack(text);
  throw CollectiveError(failure.code, failure.cause, failure.hint);
}

std::string agree_on_reason(Communicator& comm, const std::string& mine) {
  const std::int64_t candidate = mine.empty() ? comm.size() : comm.rank();
  const std::int64_t speaker = comm.all_reduce(candidate, ReduceOp::min);
  if (speaker == comm.size()) return {};
  return comm.broadcast_string(mine, static_cast<int>(speaker));
}

void check_agreement(Communicator& comm, const std::vector<AgreementItem>& items) {
  std::string mine;
  for (const AgreementItem& item : items) mine += item.name + kSeparator + item.value + kSeparator;
  if (same_everywhere(comm, mine)) return;

  // Rare and about to end the job: now every rank may hear everything.
  const std::vector<std::string> all = comm.all_gather_strings(mine);
  const std::vector<std::string> hosts = comm.all_gather_strings(comm.host());
  std::vector<std::string> names;
  std::vector<std::map<std::string, std::string>> values;
  for (const std::string& text : all) {
    const std::vector<std::string> parts = split(text);
    auto& of_rank = values.emplace_back();
    for (std::size_t i = 0; i + 1 < parts.size(); i += 2) {
      of_rank[parts[i]] = parts[i + 1];
      if (std::find(names.begin(), names.end(), parts[i]) == names.end()) names.push_back(parts[i]);
    }
  }
  std::string differences;
  for (const std::string& name : names) {
    std::vector<std::string> column;
    for (const auto& of_rank : values) {
      const auto it = of_rank.find(name);
      column.push_back(it == of_rank.end() ? "(not told)" : it->second);
    }
    differences += difference(name, column, hosts);
  }
  throw CollectiveError(
      core::ExitCode::comm, "the ranks do not run the same thing:" + differences,
      "start all ranks from one installation, with one deck and one data set that "
      "every node sees");
}

}  // namespace isaribi::comm

// SPDX-License-Identifier: MIT
#include "comm/allreduce/rack_measurement.hpp"

#include <algorithm>
#include <cstdio>
#include <span>

#include "comm/allreduce/rack_search.hpp"
#include "core/timer.hpp"

namespace isaribi::comm {
namespace {

constexpr std::size_t kFewestNodes = 4;
constexpr std::int64_t kFirstBytes = std::int64_t{64} << 10, kMostBytes = std::int64_t{64} << 20;
constexpr std::int64_t kSmallMessage = std::int64_t{32} << 10, kMostMessages = 64;
constexpr double kLongEnough = 0.03;  // seconds of the fastest pair
constexpr std::size_t kTried = 8;     // rounds, to find out how long messages take
constexpr int kRepetitions = 2;       // of a round
constexpr unsigned kMostTournaments = 3;
constexpr std::size_t kRounds = 64;  // no further tournament after as many

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

class Measurement {
 public:
  explicit Measurement(Communicator& comm) : comm_(comm) {
    const std::vector<std::string> all = comm.all_gather_strings(comm.host());
    for (std::size_t r = 0; r < all.size(); ++r) {
      auto at = std::find(hosts_.begin(), hosts_.end(), all[r]);
      if (at == hosts_.end()) {
        at = hosts_.insert(at, all[r]);
        ranks_.emplace_back();
      }
      const auto node = static_cast<std::size_t>(at - hosts_.begin());
      if (static_cast<int>(r) == comm.rank()) {
        node_ = node;
        place_ = ranks_[node].size();
      }
      ranks_[node].push_back(static_cast<int>(r));
    }
    talkers_ = ranks_.front().size();
    for (const auto& ranks : ranks_) talkers_ = std::min(talkers_, ranks.size());
  }

  RackMeasurement run() {
    const double start = core::now_seconds();
    RackMeasurement result;
    result.hosts = hosts_;
    result.rack.assign(hosts_.size(), 0);
    if (hosts_.size() < kFewestNodes) return result;
    warm_up();
    const std::size_t n = hosts_.size();
    std::vector<std::vector<std::vector<double>>> seen(n, std::vector<std::vector<double>>(n));
    std::size_t rounds = 0;
    for (unsigned seed = 0; seed < kMostTournaments && rounds < kRounds; ++seed) {
      for (const std::vector<int>& round : tournament(static_cast<int>(n), seed)) {
        for (int i = 0; i < kRepetitions; ++i) note(round, seen);
        ++rounds;
      }
    }
    decide(seen, result);
    result.seconds = comm_.all_reduce(core::now_seconds() - start, ReduceOp::max);
    return result;
  }

 private:
  /// Connections of all pairs, and messages that last.
  void warm_up() {
    const std::vector<std::vector<int>> rounds = tournament(static_cast<int>(hosts_.size()), 0);
    for (const std::vector<int>& round : rounds) play(round);
    const std::size_t tried = std::min(rounds.size(), kTried);
    const auto fastest = [&] {
      double least = 0;
      for (std::size_t r = 0; r < tried; ++r) {
        for (const double t : play(rounds[r])) {
          if (t > 0 && (least == 0 || t < least)) least = t;
        }
      }
      return least;
    };
    while (bytes_ < kMostBytes && fastest() < kLongEnough) bytes_ *= 4;
  }

  /// Seconds by rank of one round: the same number of ranks of every node talk, each with the one
  /// at its place of the other node. 0 for those that do not.
  std::vector<double> play(const std::vector<int>& round) {
    const auto ranks = static_cast<std::size_t>(comm_.size());
    const int opponent = round[node_];
    const bool talks = opponent >= 0 && place_ < talkers_;
    std::vector<std::int64_t> counts(ranks, 0);
    std::vector<core::Tensor> from;
    if (talks) {
      const int partner = ranks_[static_cast<std::size_t>(opponent)][place_];
      counts[static_cast<std::size_t>(partner)] = message();
    }
    const core::Tensor to = core::Tensor::zeros({talks ? message() : 0}, core::DType::u8);
    for (std::int64_t m = 0; talks && m < messages(); ++m) {
      from.push_back(core::Tensor::zeros({message()}, core::DType::u8));
    }
    comm_.barrier();
    const double start = core::now_seconds();
    std::vector<Request> under_way;
    for (const core::Tensor& x : from) {
      under_way.push_back(comm_.start_all_to_all_v(to, counts, x, counts));
    }
    for (Request& request : under_way) request.wait();
    const double mine = talks ? core::now_seconds() - start : 0;
    std::vector<double> all(ranks);
    comm_.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
    return all;
  }
  /// Small ones as long as they are few: large ones wait for each other, and leave the link idle.
  std::int64_t messages() const {
    const std::int64_t each = bytes_ / static_cast<std::int64_t>(talkers_);
    return std::clamp(each / kSmallMessage, std::int64_t{1}, kMostMessages);
  }
  std::int64_t message() const {
    return std::max<std::int64_t>(bytes_ / static_cast<std::int64_t>(talkers_) / messages(), 1);
  }

  void note(const std::vector<int>& round, std::vector<std::vector<std::vector<double>>>& seen) {
    const std::vector<double> seconds = play(round);
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      if (round[i] < static_cast<int>(i)) continue;
      const auto j = static_cast<std::size_t>(round[i]);
      double slowest = 0;
      for (const std::size_t node : {i, j}) {
        for (const int r : ranks_[node]) {
          slowest = std::max(slowest, seconds[static_cast<std::size_t>(r)]);
        }
      }
      const auto sent = static_cast<double>(message() * messages()) * static_cast<double>(talkers_);
      seen[i][j].push_back(sent / std::max(slowest, 1e-9));
    }
  }

  void decide(const std::vector<std::vector<std::vector<double>>>& seen, RackMeasurement& result) {
    const std::size_t n = hosts_.size();
    std::vector<std::vector<double>> rate(n, std::vector<double>(n, 0));
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = i + 1; j < n; ++j) rate[i][j] = rate[j][i] = median(seen[i][j]);
    }
    if (comm_.is_root()) result.rack = racks_by_rate(rate);
    comm_.broadcast(std::as_writable_bytes(std::span(result.rack)), 0);
    std::vector<double> inside, across;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = i + 1; j < n; ++j) {
        (result.rack[i] == result.rack[j] ? inside : across).push_back(rate[i][j]);
      }
    }
    result.inside = median(inside);
    result.across = median(across);
  }

  Communicator& comm_;
  std::vector<std::string> hosts_;
  std::vector<std::vector<int>> ranks_;  ///< by node
  std::size_t node_ = 0, place_ = 0;     ///< of this rank: its node, and which of its ranks it is
  std::size_t talkers_ = 1;              ///< of each node
  std::int64_t bytes_ = kFirstBytes;     ///< out of a node, in a round
};

}  // namespace

int RackMeasurement::racks() const {
  return rack.empty() ? 1 : *std::max_element(rack.begin(), rack.end()) + 1;
}

std::map<std::string, std::string> RackMeasurement::rack_of_host() const {
  std::map<std::string, std::string> racks;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    racks[hosts[i]] = std::string(1, 'r').append(std::to_string(rack[i]));
  }
  return racks;
}

std::string RackMeasurement::description() const {
  if (hosts.size() < kFewestNodes) return "none looked for: fewer than four nodes";
  char rates[80];
  if (racks() == 1) {
    std::snprintf(rates, sizeof rates, "none: all pairs of nodes alike, at %.4g MB/s",
                  1e-6 * inside);
    return rates;
  }
  std::string text = std::to_string(racks()) + " racks:";
  for (int r = 0; r < racks(); ++r) {
    if (r > 0) text += " |";
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      if (rack[i] == r) text.append(" ").append(hosts[i]);
    }
  }
  std::snprintf(rates, sizeof rates, "; pairs inside at %.4g MB/s, across at %.4g MB/s",
                1e-6 * inside, 1e-6 * across);
  return text.append(rates);
}

RackMeasurement measure_racks(Communicator& comm) {
  return Measurement(comm).run();
}

}  // namespace isaribi::comm

// SPDX-License-Identifier: MIT
#include "comm/allreduce/cost_model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace isaribi::comm {
namespace {

double cut(int parts, double bytes) {
  return parts > 1 ? 2.0 * (parts - 1) / parts * bytes : 0;
}

/// Ranks of the group's members, by position: where each begins and how many it has.
struct Member {
  int first = 0, positions = 0;
};

std::vector<Member> members_of(const Hierarchy& hierarchy, int level,
                               const Hierarchy::Group& group) {
  std::vector<Member> members;
  for (const int m : group.members) {
    if (level == 0) {
      members.push_back({m, 1});
    } else {
      const Hierarchy::Group& below = hierarchy.groups(level - 1)[static_cast<std::size_t>(m)];
      members.push_back({below.first_position, below.positions});
    }
  }
  return members;
}

/// Adds the traffic of one group that leaves domains of one kind, to the sum of each domain. What a
/// member sends is spread evenly over its ranks.
void add_doors(const std::vector<int>& domain, const std::vector<Member>& members,
               Exchange exchange, std::vector<double>& out) {
  const auto at = [&](int position) { return domain[static_cast<std::size_t>(position)]; };
  const auto last = [](const Member& m) { return m.first + m.positions - 1; };
  const auto k = static_cast<double>(members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Member& me = members[i];
    for (int first = me.first, end = first; first <= last(me); first = end) {
      const int home = at(first);  // ranks [first, end) of this member are in it
      while (end <= last(me) && at(end) == home) ++end;
      const auto leaves = [&](const Member& other) {
        return at(other.first) != home || at(last(other)) != home;
      };
      double sent = 0;
      if (exchange == Exchange::ring) {
        if (leaves(members[(i + 1) % members.size()])) sent = (k - 1) / k;
      } else {
        const auto others = std::count_if(members.begin(), members.end(), leaves);
        sent = static_cast<double>(others - (leaves(me) ? 1 : 0)) / k;
      }
      out[static_cast<std::size_t>(home)] += sent * (end - first) / me.positions;
    }
  }
}

}  // namespace

std::vector<StageLoad> stage_loads(const Topology& topology, const Hierarchy& hierarchy) {
  const auto& domains = topology.order.domains;
  std::vector<StageLoad> loads;
  for (int l = 0; l < hierarchy.levels(); ++l) {
    StageLoad load;
    load.exchange = hierarchy.level(l).exchange;
    load.network = topology.kinds_within_node();
    std::vector<std::vector<double>> out;  // by kind of domain, by domain
    for (const std::vector<int>& domain : domains) {
      out.emplace_back(static_cast<std::size_t>(domain.back()) + 1, 0.0);
    }
    for (const Hierarchy::Group& group : hierarchy.groups(l)) {
      const auto k = static_cast<int>(group.members.size());
      if (k < 2) continue;
      const std::vector<Member> members = members_of(hierarchy, l, group);
      // The smallest kind of domain that holds the whole group.
      int link = 0;
      const auto first = static_cast<std::size_t>(group.first_position);
      const std::size_t last = first + static_cast<std::size_t>(group.positions) - 1;
      while (link < static_cast<int>(domains.size()) &&
             domains[static_cast<std::size_t>(link)][first] !=
                 domains[static_cast<std::size_t>(link)][last]) {
        ++link;
      }
      load.link = std::max(load.link, link);
      load.rounds = std::max(load.rounds, k - 1);
      for (const Member& m : members) {
        load.port = std::max(load.port, (k - 1.0) / k / m.positions);
      }
      for (std::size_t d = 0; d < domains.size(); ++d) {
        add_doors(domains[d], members, load.exchange, out[d]);
      }
    }
    // A pair has one way to exchange, whoever does it.
    if (load.rounds == 1 && load.exchange == Exchange::library) load.exchange = Exchange::direct;
    for (const std::vector<double>& kind : out) {
      load.door.push_back(*std::max_element(kind.begin(), kind.end()));
    }
    loads.push_back(load);
  }
  return loads;
}

namespace {

/// Calls `visit(link, share)` for every place that a stage passes: the port of a rank, where that
/// is its way out, and the doors of domains, each by the link beyond it.
template <typename Visit>
void for_places(const StageLoad& load, const Visit& visit) {
  if (load.link == 0 || load.network == 0) visit(std::size_t{0}, load.port);
  for (std::size_t d = 0; d < load.door.size(); ++d) visit(d + 1, load.door[d]);
}

/// Seconds of one way through a stage, for a segment of `bytes` that has it to itself.
double time_alone(const MachineModel& machine, const StageLoad& load, double bytes) {
  const bool large = load.message() * bytes >= machine.large_bytes;
  double most = 0;
  for_places(load, [&](std::size_t link, double share) {
    const LinkCost& cost = machine.links[link].of(load.exchange);
    most = std::max(most, share * bytes * (large ? cost.alone : cost.eager));
  });
  const auto out = static_cast<std::size_t>(load.link);
  return most + load.rounds * machine.links[out].of(load.exchange).latency;
}

/// Adds the seconds for which one way through a stage keeps each place busy: the cores of a node,
/// of whatever they carry, and beyond them every link of the network by itself.
void add_busy(const MachineModel& machine, const StageLoad& load, double bytes,
              std::vector<double>& busy) {
  const bool large = load.message() * bytes >= machine.large_bytes;
  const auto network = static_cast<std::size_t>(load.network);
  double inside = 0;
  for_places(load, [&](std::size_t link, double share) {
    const LinkCost& cost = machine.links[link].of(load.exchange);
    const double seconds = share * bytes * (large ? cost.busy : cost.eager);
    if (load.link < load.network) {
      inside = std::max(inside, seconds);
    } else if (link >= network) {
      busy[link + 1] += seconds;
    }
  });
  busy[0] += inside;
}

}  // namespace

double predict_seconds(const MachineModel& machine, const std::vector<StageLoad>& loads,
                       double bytes, std::int64_t segments, int window) {
  const double each_bytes = bytes / static_cast<double>(segments);
  double first = 0, slowest = 0;
  std::vector<double> busy(machine.links.size() + 1, 0.0);
  for (const StageLoad& load : loads) {
    const double alone = time_alone(machine, load, each_bytes);
    first += 2 * alone;
    slowest = std::max(slowest, alone / window);
    add_busy(machine, load, each_bytes, busy);
  }
  // As good as the largest where one place is the tightest; where several are, they overlap badly.
  double cubes = slowest * slowest * slowest;
  for (const double one_way : busy) cubes += 8 * one_way * one_way * one_way;
  return first + static_cast<double>(segments - 1) * std::cbrt(cubes);
}

namespace {

/// Levenberg-Marquardt (Marquardt 1963) on the logarithms of all parameters; residuals are
/// logarithms of predicted over measured seconds, and, at little weight, of parameters over where
/// they began, which holds those that no sample tells of.
class Fit {
 public:
  Fit(MachineModel start, const std::vector<Sample>& samples)
      : model_(std::move(start)), samples_(samples) {
    for (LinkModel& l : model_.links) {
      for (const Exchange e : kExchanges) {
        LinkCost* c = &l.of(e);
        for (double* p : {&c->latency, &c->alone, &c->busy, &c->eager}) {
          if (*p > 0) parameters_.push_back(p);
        }
      }
    }
    for (const double* p : parameters_) origin_.push_back(std::log(*p));
    at_ = origin_;
    residuals_ = residuals();
  }

  /// @return the sum of squares that is left
  double run() {
    constexpr int kSteps = 30;
    double cost = squares(residuals_), damping = 1e-2;
    for (int step = 0; step < kSteps && damping < 1e6; ++step) {
      const std::vector<double> before = at_, move = solve(damping);
      for (std::size_t i = 0; i < at_.size(); ++i) at_[i] += std::clamp(move[i], -1.0, 1.0);
      const std::vector<double> now = residuals();
      const double reached = squares(now);
      if (!(reached < cost)) {
        at_ = before;
        damping *= 4;
        continue;
      }
      const bool done = reached > cost * (1 - 1e-6);
      residuals_ = now;
      cost = reached;
      damping /= 4;
      if (done) break;
    }
    residuals();  // writes the parameters
    return cost;
  }
  const MachineModel& model() const { return model_; }

 private:
  static double squares(const std::vector<double>& r) {
    return std::inner_product(r.begin(), r.end(), r.begin(), 0.0);
  }

  std::vector<double> residuals() {
    constexpr double kTrust = 0.02;  // in the origin, against one sample
    for (std::size_t i = 0; i < at_.size(); ++i) *parameters_[i] = std::exp(at_[i]);
    std::vector<double> r;
    for (const Sample& s : samples_) {
      const double t = predict_seconds(model_, s.loads, s.bytes, s.segments, s.window);
      r.push_back(std::log(std::max(t, 1e-12) / s.seconds));
    }
    for (std::size_t i = 0; i < at_.size(); ++i) r.push_back(kTrust * (at_[i] - origin_[i]));
    for (const LinkModel& l : model_.links) {  // what waits for nobody knows no exchange
      if (l.ring.eager > 0) r.push_back(std::log(l.ring.eager / l.direct.eager));
    }
    return r;
  }

  /// The step of (J'J + damping diag(J'J)) x = -J'r, by Gaussian elimination of a matrix that is
  /// positive definite.
  std::vector<double> solve(double damping) {
    constexpr double kDifference = 1e-5;
    const std::size_t n = at_.size();
    std::vector<std::vector<double>> slope, a(n, std::vector<double>(n + 1));
    for (std::size_t i = 0; i < n; ++i) {
      const double kept = at_[i];
      at_[i] += kDifference;
      slope.push_back(residuals());
      at_[i] = kept;
      for (std::size_t s = 0; s < residuals_.size(); ++s) {
        slope[i][s] = (slope[i][s] - residuals_[s]) / kDifference;
      }
    }
    const auto dot = [](const std::vector<double>& x, const std::vector<double>& y) {
      return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
    };
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) a[i][j] = dot(slope[i], slope[j]);
      a[i][i] *= 1 + damping;
      a[i][n] = -dot(slope[i], residuals_);
    }
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = i + 1; j < n; ++j) {
        const double factor = a[j][i] / a[i][i];
        for (std::size_t k = i; k <= n; ++k) a[j][k] -= factor * a[i][k];
      }
    }
    std::vector<double> x(n);
    for (std::size_t i = n; i-- > 0;) {
      x[i] = a[i][n];
      for (std::size_t j = i + 1; j < n; ++j) x[i] -= a[i][j] * x[j];
      x[i] /= a[i][i];
    }
    return x;
  }

  MachineModel model_;
  const std::vector<Sample>& samples_;
  std::vector<double*> parameters_;  ///< in model_
  std::vector<double> origin_, at_;  ///< logarithms
  std::vector<double> residuals_;    ///< at at_
};

}  // namespace

MachineModel fit_model(const MachineModel& start, const std::vector<Sample>& samples) {
  // Where libraries change from eager to rendezvous: Open MPI 64 KiB over TCP, UCX and MPICH less.
  constexpr double kLarge[] = {65536, 32768, 16384, 8192, 131072, 0};
  constexpr double kClearly = 0.5;  // better, to be taken for another limit
  MachineModel best;
  double least = std::numeric_limits<double>::infinity();
  for (const double large : kLarge) {
    MachineModel from = start;
    from.large_bytes = large;
    Fit fit(std::move(from), samples);
    const double left = fit.run();
    if (left < kClearly * least) {
      least = left;
      best = fit.model();
    }
  }
  return best;
}

double node_cut_bytes(const Topology& topology, double bytes) {
  return cut(topology.nodes, bytes);
}

double rack_cut_bytes(const Topology& topology, double bytes) {
  return cut(topology.racks, bytes);
}

}  // namespace isaribi::comm

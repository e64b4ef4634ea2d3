// SPDX-License-Identifier: MIT
// Named phases: wall time summed per name, and the same names handed to a profiler (Kokkos Tools,
// NVTX) and to the watchdog through one observer, so that "forward/conv1" means the same thing
// everywhere.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace isaribi::core {

/// Monotonic seconds.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Adds the seconds from its birth to its death to `sum`.
class Stopwatch {
 public:
  explicit Stopwatch(double& sum) : sum_(sum), start_(now_seconds()) {}
  ~Stopwatch() { sum_ += now_seconds() - start_; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& sum_;
  double start_;
};

/// Sums of wall time per phase name. Used by the main thread of a rank only.
class PhaseTimers {
 public:
  /// Called at the start (name) and the end (empty name) of each phase.
  using Observer = std::function<void(std::string_view name)>;
  void add_observer(Observer observer) { observers_.push_back(std::move(observer)); }

  /// RAII: a phase from construction to destruction. Phases may nest; each counts its whole span.
  class Scope {
   public:
    Scope(PhaseTimers& timers, std::string_view name);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    PhaseTimers& timers_;
    std::string name_;
    double start_;
  };
  [[nodiscard]] Scope phase(std::string_view name) { return Scope(*this, name); }

  /// Seconds per phase since the last reset.
  const std::map<std::string, double, std::less<>>& seconds() const { return seconds_; }
  double seconds_of(std::string_view name) const;
  void reset() { seconds_.clear(); }

 private:
  std::map<std::string, double, std::less<>> seconds_;
  std::vector<Observer> observers_;
};

}  // namespace isaribi::core

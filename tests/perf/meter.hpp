// SPDX-License-Identifier: MIT
// A backend around another one that meters every call of a training step: time, multiply-adds, and
// the bytes that the operation must read and write once. Only `profile` and the count of a step run
// through it; timings against a peer do not.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "backends/api/backend.hpp"
#include "backends/selftest/machine.hpp"

namespace isaribi::perf {

/// Sums over the calls of one operation.
struct Metered {
  std::int64_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0;
  double bound = 0;  ///< seconds: of each call the larger of its FMA and bandwidth times, summed
};

class Meter {
 public:
  /// `machine` may be nullptr: no bounds.
  Meter(api::Backend& inner, const selftest::Machine* machine);
  ~Meter();
  /// Valid as long as this.
  api::Backend& backend();
  const std::map<std::string, Metered>& by_operation() const { return sums_; }
  Metered total() const;
  void reset() { sums_.clear(); }

  /// Runs `call` and books it.
  template <class Call>
  void book(const char* op, double flops, double bytes, const Call& call);

 private:
  class Wrapped;
  void add(const char* op, double seconds, double flops, double bytes);
  api::Backend& inner_;
  const selftest::Machine* machine_;
  std::map<std::string, Metered> sums_;
  std::unique_ptr<Wrapped> wrapped_;
};

}  // namespace isaribi::perf

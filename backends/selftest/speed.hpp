// SPDX-License-Identifier: MIT
// How fast the hot operations of a backend are, as a share of what binds them on this machine.
// `isaribi selftest --perf` shows it; nothing here passes or fails.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "backends/api/backend.hpp"
#include "backends/selftest/machine.hpp"

namespace isaribi::selftest {

/// The best call of one operation.
struct Speed {
  std::string op, shape;
  double flops = 0, bytes = 0;  ///< of one call: Case
  double seconds = 0;
};

/// Times every hot operation for about `seconds` altogether, f32. Shapes shrink on a backend that
/// is slow. `on_result` is called after each; an operation that throws ends the run.
std::vector<Speed> measure_speed(api::Backend& backend, double seconds,
                                 const std::function<void(const Speed&)>& on_result = {});

/// bound / time: 1 is all the machine can do. 0 for a device whose bounds are not measured.
double share_of_bound(const Speed& speed, const Machine& machine, const api::Backend& backend);

/// The tables, a line each, no newline.
std::vector<std::string> machine_table(const Machine& machine);
std::vector<std::string> speed_table(const std::vector<Speed>& speeds, const Machine& machine,
                                     const api::Backend& backend);
/// Both as comma-separated values:
/// kind,name,detail,seconds,one_thread,all_threads,unit,bound,share. kind is compute, read, update
/// or op.
void write_csv(std::ostream& out, const std::vector<Speed>& speeds, const Machine& machine,
               const api::Backend& backend);

}  // namespace isaribi::selftest

// SPDX-License-Identifier: MIT
// The additions of src/comm/allreduce/sums.cpp, with a switch that leaves them out.
#pragma once

namespace isaribi::scale {

/// Memory that all ranks share holds no sums, and computation takes no simulated time: with this
/// set, sum_kernels() gives functions that do nothing, and the host's time and pages are saved. Set
/// before the first runner is made, by every rank alike: ranks share their globals.
inline bool leave_out_sums = false;

}  // namespace isaribi::scale

// SPDX-License-Identifier: MIT
// The data caches of the CPU, as the system describes them.
#pragma once

#include <cstdint>
#include <vector>

namespace isaribi::selftest {

struct Cache {
  int level = 1;
  std::int64_t bytes = 0;
  int cpus = 1;  ///< that share it
};

/// Innermost first, from /sys/devices/system/cpu; 32 KiB and 1 MiB where that says nothing.
std::vector<Cache> data_caches();

}  // namespace isaribi::selftest

// SPDX-License-Identifier: MIT
#include "backends/selftest/caches.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace isaribi::selftest {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

/// "0-3,8": 5.
int count_cpus(const std::string& list) {
  int count = 0;
  std::istringstream in(list);
  for (std::string part; std::getline(in, part, ',');) {
    const auto dash = part.find('-');
    count += dash == std::string::npos
                 ? 1
                 : std::atoi(part.c_str() + dash + 1) - std::atoi(part.c_str()) + 1;
  }
  return std::max(count, 1);
}

/// "32768K", "1M" or plain bytes.
std::int64_t bytes_of(const std::string& size) {
  const std::int64_t number = std::atoll(size.c_str());
  const char unit = size.empty() ? ' ' : size.back();
  return unit == 'K' ? number << 10 : unit == 'M' ? number << 20 : number;
}

}  // namespace

std::vector<Cache> data_caches() {
  std::vector<Cache> caches;
  for (int index = 0; index < 8; ++index) {
    const std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::string type = first_line(folder + "type");
    if (type != "Data" && type != "Unified") continue;
    Cache cache;
    cache.level = std::atoi(first_line(folder + "level").c_str());
    cache.bytes = bytes_of(first_line(folder + "size"));
    cache.cpus = count_cpus(first_line(folder + "shared_cpu_list"));
    if (cache.level > 0 && cache.bytes > 0) caches.push_back(cache);
  }
  std::sort(caches.begin(), caches.end(),
            [](const Cache& a, const Cache& b) { return a.level < b.level; });
  if (caches.empty()) caches = {{1, 32 << 10, 1}, {2, 1 << 20, 1}};
  return caches;
}

}  // namespace isaribi::selftest

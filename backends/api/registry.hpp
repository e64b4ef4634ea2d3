// SPDX-License-Identifier: MIT
// Which backends exist in this build, which of them can run here, and how to make one. Each backend
// folder offers one register_backend(Registry&); main.cpp calls them. A backend that was configured
// off registers its reason instead (off.cpp in its folder), so no other code asks what was
// compiled.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/api/backend.hpp"
#include "backends/api/probe.hpp"
#include "core/log.hpp"
#include "core/sum_kernels.hpp"

namespace isaribi::api {

/// What a backend may be told when it is made.
struct Options {
  int threads = 1;  ///< OpenMP threads of this rank
  std::string isa;  ///< force an instruction-set level of simd ("avx2", "avx512", ...); empty: best
                    ///< measured
  int device = 0;   ///< device index on this node
};

/// One registered backend.
struct Entry {
  std::string name;
  int priority = 0;  ///< "auto" takes the usable backend with the highest priority
  /// Empty when it can run here, else the reason ("built without CUDA: configure with
  /// -DISARIBI_CUDA=ON", "built, not usable here: no driver").
  std::function<std::string()> why_unusable;
  /// Makes it. `fallback` runs what the new backend does not own; reference gets nullptr.
  std::function<std::unique_ptr<Backend>(const Options&, std::unique_ptr<Backend> fallback,
                                         core::Log&)>
      create;
  /// Instruction-set levels (values of Options::isa) that `create` would take here, the preferred
  /// one first; one when it is forced. Unset when the backend has no such choice.
  std::function<std::vector<std::string>(const Options&)> isa_levels = {};
  /// Loops that measure the CPU at the instruction sets it has. Unset when there are none.
  std::function<Probes()> probes = {};
  /// How ranks add and round what they sum. Null when the backend has nothing better than loops.
  core::SumKernelsOf sum_kernels = nullptr;
  /// Name of the backend to fall back to, empty for none. The first usable of this and "reference"
  /// is taken.
  std::string fallback;
};

class Registry {
 public:
  void add(Entry entry);
  const std::vector<Entry>& entries() const { return entries_; }
  /// A backend by name, or the best usable one for "auto". The log says which and why.
  /// @throws UsageError for an unknown or unusable name, with the list of usable ones.
  std::unique_ptr<Backend> create(std::string_view name, const Options& options,
                                  core::Log& log) const;
  /// The name and the instruction-set levels of what create() would make. The preferred level is a
  /// measurement, so it may differ between ranks and runs, and with it the last bits of results:
  /// those who must agree choose one and pass it as Options::isa. @throws UsageError as create().
  struct Choice {
    std::string name;
    std::vector<std::string> isa_levels;  ///< empty: there is nothing to choose
  };
  Choice choices(std::string_view name, const Options& options) const;
  /// Those of the usable backend with the highest priority among those that have any, else null.
  core::SumKernelsOf sum_kernels() const;
  /// The probes of all backends that are usable here.
  Probes probes() const;

 private:
  const Entry& usable(std::string_view name, std::string& unusable) const;
  const Entry* find(std::string_view name) const;
  std::unique_ptr<Backend> make(const Entry& entry, const Options& options, core::Log& log) const;
  std::vector<Entry> entries_;
};

}  // namespace isaribi::api

// SPDX-License-Identifier: MIT
#include "backends/api/registry.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace isaribi::api {

void Registry::add(Entry entry) {
  if (find(entry.name) != nullptr)
    throw core::InternalError("backend " + entry.name + " is registered twice");
  entries_.push_back(std::move(entry));
}

const Entry* Registry::find(std::string_view name) const {
  const auto it = std::find_if(entries_.begin(), entries_.end(),
                               [&](const Entry& e) { return e.name == name; });
  return it == entries_.end() ? nullptr : &*it;
}

// The entry that `name` means here; `unusable` becomes "; name: reason" of each that cannot run.
const Entry& Registry::usable(std::string_view name, std::string& unusable) const {
  std::string names = "auto";
  const Entry* best = nullptr;
  for (const Entry& e : entries_) {
    const std::string reason = e.why_unusable();
    if (!reason.empty()) {
      unusable += "; " + e.name + ": " + reason;
      continue;
    }
    names += ", " + e.name;
    if (best == nullptr || e.priority > best->priority) best = &e;
  }
  const std::string hint = "usable here: " + names + unusable;
  const Entry* chosen = name == "auto" ? best : find(name);
  if (chosen == nullptr)
    throw core::UsageError("run/backend = \"" + std::string(name) + "\" is not a backend", hint);
  const std::string reason = chosen->why_unusable();
  if (!reason.empty()) throw core::UsageError("backend " + chosen->name + ": " + reason, hint);
  return *chosen;
}

Registry::Choice Registry::choices(std::string_view name, const Options& options) const {
  std::string unusable;
  const Entry& chosen = usable(name, unusable);
  return {chosen.name, chosen.isa_levels ? chosen.isa_levels(options) : std::vector<std::string>{}};
}

core::SumKernelsOf Registry::sum_kernels() const {
  const Entry* best = nullptr;
  for (const Entry& e : entries_) {
    const bool better = best == nullptr || e.priority > best->priority;
    if (e.sum_kernels != nullptr && better && e.why_unusable().empty()) best = &e;
  }
  return best == nullptr ? nullptr : best->sum_kernels;
}

Probes Registry::probes() const {
  Probes all;
  for (const Entry& e : entries_) {
    if (!e.probes || !e.why_unusable().empty()) continue;
    const Probes own = e.probes();
    all.compute.insert(all.compute.end(), own.compute.begin(), own.compute.end());
    all.stream.insert(all.stream.end(), own.stream.begin(), own.stream.end());
  }
  return all;
}

std::unique_ptr<Backend> Registry::create(std::string_view name, const Options& options,
                                          core::Log& log) const {
  std::string unusable;
  const Entry& chosen = usable(name, unusable);
  auto backend = make(chosen, options, log);
  log.info("backend: {} ({}): {}", chosen.name,
           name == "auto" ? "the best of those usable here" : "asked for", backend->description());
  if (name == "auto" && !unusable.empty()) log.debug("not usable{}", unusable);
  return backend;
}

// The backend of a usable entry, over the first usable of its fallback and reference.
std::unique_ptr<Backend> Registry::make(const Entry& entry, const Options& options,
                                        core::Log& log) const {
  std::unique_ptr<Backend> fallback;
  if (!entry.fallback.empty()) {
    const Entry* next = find(entry.fallback);
    const std::string reason = next == nullptr ? "not registered" : next->why_unusable();
    if (!reason.empty()) {
      log.warn_once("what backend {} lacks runs on reference, which is slow; {}: {}", entry.name,
                    entry.fallback, reason);
      next = find("reference");
      if (next == nullptr) throw core::InternalError("backend reference is not registered");
    }
    fallback = make(*next, options, log);
  }
  return entry.create(options, std::move(fallback), log);
}

}  // namespace isaribi::api

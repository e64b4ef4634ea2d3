// SPDX-License-Identifier: MIT
#include "backends/api/module.hpp"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace isaribi::api {
namespace {

/// A module opened at most once, and why it could not be used.
class LazyModule {
 public:
  explicit LazyModule(std::string file) : file_(std::move(file)) {}

  const std::string& why_unusable() {
    if (!opened_) opened_ = core::open_module(file_, kModuleSymbol, kModuleAbi);
    return opened_->why_unusable;
  }
  const Module& module() const { return *static_cast<const Module*>(opened_->head); }

 private:
  std::string file_;
  std::optional<core::OpenedModule> opened_;
};

}  // namespace

void add_module(Registry& registry, Entry entry, const std::string& file) {
  auto lazy = std::make_shared<LazyModule>(file);
  entry.why_unusable = [lazy] { return lazy->why_unusable(); };
  entry.create = [lazy](const Options& options, std::unique_ptr<Backend> fallback, core::Log& log) {
    // The module takes over the fallback together with the new backend.
    return std::unique_ptr<Backend>(lazy->module().create(options, fallback.release(), log));
  };
  registry.add(std::move(entry));
}

}  // namespace isaribi::api

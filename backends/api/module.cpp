// SPDX-License-Identifier: MIT
#include "backends/api/module.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace isaribi::api {
namespace fs = std::filesystem;
namespace {

// Where a module may stand: ISARIBI_MODULE_PATH, beside the executable, ../lib/isaribi of it.
std::vector<fs::path> search_path() {
  std::vector<fs::path> out;
  if (const char* extra = std::getenv("ISARIBI_MODULE_PATH")) {  // folders between colons
    std::istringstream folders(extra);
    for (std::string folder; std::getline(folders, folder, ':');) out.emplace_back(folder);
  }
  std::error_code error;
  const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (!error) {
    out.push_back(here);
    out.push_back(here.parent_path() / "lib" / "isaribi");
  }
  return out;
}

/// A module opened at most once, and why it could not be used.
class LazyModule {
 public:
  explicit LazyModule(std::string file) : file_(std::move(file)) {}

  const std::string& why_unusable() {
    if (!reason_) reason_ = open();
    return *reason_;
  }
  const Module& module() const { return *module_; }

 private:
  std::string open() {
    for (const fs::path& folder : search_path()) {
      const fs::path path = folder / file_;
      std::error_code ignored;
      if (fs::exists(path, ignored)) return load(path.string());
    }
    std::string looked;
    for (const fs::path& folder : search_path())
      looked += (looked.empty() ? "" : ", ") + folder.string();
    return "built, not usable here: " + file_ + " is not in " + looked;
  }

  std::string load(const std::string& path) {
    void* handle = dlopen(
        path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its code may be in use until the end
    if (handle == nullptr) {
      const std::string text = dlerror();
      const bool driver = text.find("libcuda") != std::string::npos;
      return std::string("built, not usable here: ") +
             (driver ? "no driver (" : "cannot be opened (") + text + ")";
    }
    const auto entry = reinterpret_cast<const Module* (*)()>(dlsym(handle, kModuleSymbol));
    if (entry == nullptr) return path + " is not a backend module of isaribi";
    module_ = entry();
    if (module_ == nullptr || module_->abi != kModuleAbi)
      return path + " was built for another version of isaribi: build it anew";
    const char* reason = module_->why_unusable();
    return reason == nullptr ? "" : std::string("built, not usable here: ") + reason;
  }

  std::string file_;
  std::optional<std::string> reason_;
  const Module* module_ = nullptr;
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

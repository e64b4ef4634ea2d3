// SPDX-License-Identifier: MIT
#include "core/module_file.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <utility>
#include <vector>

namespace isaribi::core {
namespace fs = std::filesystem;
namespace {

std::vector<fs::path> search_path() {
  std::vector<fs::path> out;
  if (const char* extra = std::getenv("ISARIBI_MODULE_PATH")) {
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

const std::string kUnusable = "built, not usable here: ";

OpenedModule why_not(std::string reason) {
  return {nullptr, std::move(reason)};
}

OpenedModule load(const std::string& path, const char* symbol, int abi) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const std::string text = dlerror();
    const bool driver = text.find("libcuda") != std::string::npos;
    return why_not(kUnusable + (driver ? "no driver (" : "cannot be opened (") + text + ")");
  }
  const auto entry = reinterpret_cast<const ModuleHead* (*)()>(dlsym(handle, symbol));
  if (entry == nullptr) return why_not(path + " is not a module of isaribi");
  const ModuleHead* head = entry();
  if (head == nullptr || head->abi != abi)
    return why_not(path + " was built for another version of isaribi: build it anew");
  const char* reason = head->why_unusable();
  return {head, reason == nullptr ? "" : kUnusable + reason};
}

}  // namespace

OpenedModule open_module(const std::string& file, const char* symbol, int abi) {
  std::string looked;
  for (const fs::path& folder : search_path()) {
    const fs::path path = folder / file;
    std::error_code ignored;
    if (fs::exists(path, ignored)) {
      OpenedModule module = load(path.string(), symbol, abi);
      module.found = true;
      return module;
    }
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  return why_not(kUnusable + file + " is not in " + looked);
}

}  // namespace isaribi::core

// SPDX-License-Identifier: MIT
// Parts of the program that are shared objects, opened at run time, because what they link does not
// load on every machine (CUDA on a login node).
#pragma once

#include <string>

namespace isaribi::core {

/// What the C function of a module returns begins with this.
struct ModuleHead {
  int abi = 0;
  /// nullptr when usable, else the reason (static storage).
  const char* (*why_unusable)() = nullptr;
};

struct OpenedModule {
  const ModuleHead* head = nullptr;  ///< null with a reason
  std::string why_unusable;          ///< "built, not usable here: no driver (..)"; empty: usable
  bool found = false;                ///< there is such a file
};

/// Opens `file` ("isaribi_cuda.so"), never to close it: its code may be in use until the end.
/// Looked for in ISARIBI_MODULE_PATH (folders between colons), beside the executable and in
/// ../lib/isaribi of it. @param symbol its C function. @param abi that its head must have
OpenedModule open_module(const std::string& file, const char* symbol, int abi);

}  // namespace isaribi::core

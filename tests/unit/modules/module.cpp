// SPDX-License-Identifier: MIT
// A backend module for api_test.cpp, built several times: each variant is broken in the way that
// its compile definition says. It has no backend of its own and hands its fallback back.
#include "backends/api/module.hpp"

using namespace isaribi;

#if defined(ISARIBI_TEST_NO_DRIVER)
extern "C" int isaribi_absent_driver();
#endif

namespace {

const char* why_unusable() {
#if defined(ISARIBI_TEST_NO_DRIVER)
  return isaribi_absent_driver() == 0 ? nullptr : "";
#elif defined(ISARIBI_TEST_REFUSES)
  return "no GPU";
#else
  return nullptr;
#endif
}

api::Backend* create(const api::Options&, api::Backend* fallback, core::Log&) {
  return fallback;
}

#if defined(ISARIBI_TEST_OTHER_ABI)
constexpr int kAbi = api::kModuleAbi + 1;
#else
constexpr int kAbi = api::kModuleAbi;
#endif

}  // namespace

#if defined(ISARIBI_TEST_NO_ENTRY)
extern "C" const api::Module* isaribi_another_entry() {
#else
extern "C" const api::Module* isaribi_backend_module() {
#endif
  static const api::Module module{{kAbi, why_unusable}, create};
  return &module;
}

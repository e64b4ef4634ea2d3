// SPDX-License-Identifier: MIT
#include "io/hdf5/call.hpp"

#include <sys/statvfs.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "core/error.hpp"

namespace isaribi::hdf5 {
namespace {

herr_t collect(unsigned, const H5E_error2_t* entry, void* out) {
  if (entry->desc != nullptr) static_cast<std::vector<std::string>*>(out)->push_back(entry->desc);
  return 0;
}

/// The text between "error message = '" and "'": what the POSIX driver got from the system.
std::string system_message(const std::string& text) {
  const std::string mark = "error message = '";
  const std::size_t begin = text.find(mark);
  if (begin == std::string::npos) return "";
  const std::size_t end = text.find('\'', begin + mark.size());
  return text.substr(begin + mark.size(), end - begin - mark.size());
}

/// MPI-IO often says no more than "write failed"; a full disk is worth naming then.
std::string space_left(const std::string& file) {
  struct statvfs status {};
  const std::string folder = std::filesystem::path(file).parent_path().string();
  if (statvfs(folder.empty() ? "." : folder.c_str(), &status) != 0) return "";
  const bool full = status.f_bavail * status.f_frsize < (1u << 16);
  return full ? " (No space left on device)" : "";
}

}  // namespace

std::unique_lock<std::recursive_mutex> enter() {
  static std::recursive_mutex mutex;
  std::unique_lock lock(mutex);
  // At each entry: closing the library (MPI_Finalize does) brings the default back.
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  return lock;
}

std::string take_cause(const std::string& why) {
  std::vector<std::string> entries;  // innermost first
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, &collect, &entries);
  H5Eclear2(H5E_DEFAULT);
  for (const std::string& entry : entries) {
    if (const std::string message = system_message(entry); !message.empty()) return message;
  }
  if (entries.empty()) return why;
  std::string cause = entries[0];
  // MPI errors come as two entries: the call that failed, then what MPI says about it.
  if (entries.size() > 1 && cause.find("MPI") != std::string::npos) cause += ": " + entries[1];
  return cause;
}

std::string hint_for(const std::string& cause) {
  const auto says = [&](const char* text) { return cause.find(text) != std::string::npos; };
  if (says("No space left") || says("quota exceeded") || says("NO_SPACE"))
    return "free space there, or write to another file system";
  if (says("File too large"))
    return "the file system or a limit of this process (ulimit -f) refuses a file of this size";
  if (says("Read-only") || says("ermission denied") || says("MPI_ERR_ACCESS"))
    return "choose a folder you may write to";
  if (says("truncated")) return "the file was cut short: copy or write it again";
  return "";
}

void raise(const std::string& file, const std::string& place, const std::string& action) {
  std::string cause = take_cause();
  if (hint_for(cause).empty()) cause += space_left(file);
  const std::string where = place.empty() || place == "/" ? "" : place + ": ";
  throw core::DataError(file, where + "cannot " + action + ": " + cause, hint_for(cause));
}

void raise_remote(const std::string& file, const std::string& place, const std::string& action) {
  const std::string where = place.empty() || place == "/" ? "" : place + ": ";
  const std::string space = space_left(file);
  throw core::DataError(file, where + "cannot " + action + ": another rank failed to" + space,
                        hint_for(space));
}

Id& Id::operator=(Id&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

Id::~Id() {
  if (value_ < 0) return;
  const auto lock = enter();
  H5Idec_ref(value_);
}

}  // namespace isaribi::hdf5

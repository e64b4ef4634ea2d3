// SPDX-License-Identifier: MIT
#include "io/checkpoint/folder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "io/hdf5/atomic.hpp"

namespace isaribi::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPrefix = "step-", kSuffix = ".h5", kTemporary = ".tmp";

bool is_checkpoint(const std::string& name) {
  return name.starts_with(kPrefix) && name.ends_with(kSuffix);
}

std::vector<std::string> names(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    out.push_back(it->path().filename().string());
  }
  std::sort(out.begin(), out.end(), std::greater<>());
  return out;
}

}  // namespace

std::string file_name(std::int64_t step) {
  return fmt::format("{}{:012d}{}", kPrefix, step, kSuffix);
}

std::vector<std::string> list(const std::string& folder) {
  std::vector<std::string> out;
  for (const std::string& name : names(folder)) {
    if (is_checkpoint(name)) out.push_back((fs::path(folder) / name).string());
  }
  return out;
}

void publish(const std::string& temporary, const std::string& final) {
  hdf5::fsync_path(temporary);
  hdf5::replace_file(temporary, final);
}

void point_latest(const std::string& folder, const std::string& name) {
  const std::string path = (fs::path(folder) / "latest").string();
  std::ifstream pointer(path);
  if (std::string now; std::getline(pointer, now) && now == name) return;
  hdf5::AtomicFile file(path);
  std::ofstream out(file.temporary());
  out << name << "\n";
  out.close();
  if (!out) {
    throw core::DataError(path, std::string("cannot be written: ") + std::strerror(errno),
                          "check free space, quota and permissions of the run folder");
  }
  file.commit();
}

void rotate(const std::string& folder, int keep, const std::string& verified) {
  int seen = 0;
  std::error_code ignored;  // a file that cannot be deleted costs space, not correctness
  for (const std::string& name : names(folder)) {
    const fs::path path = fs::path(folder) / name;
    const bool surplus = is_checkpoint(name) && ++seen > keep && path != fs::path(verified);
    if (surplus || name.ends_with(kTemporary)) fs::remove(path, ignored);
  }
}

}  // namespace isaribi::checkpoint

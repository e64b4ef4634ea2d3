// SPDX-License-Identifier: MIT
#include "io/report/metrics.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "core/error.hpp"
#include "io/report/files.hpp"

namespace isaribi::report {
namespace {

/// Bytes of the complete lines of `text` whose records have step <= last, up to the first other.
std::size_t kept_bytes(const std::string& text, std::int64_t last) {
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) return begin;
    const auto record =
        nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                              text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!record.is_object() || !record.contains("step") || !record["step"].is_number() ||
        record["step"].get<std::int64_t>() > last)
      return begin;
    begin = end + 1;
  }
}

}  // namespace

MetricsLog::MetricsLog(std::string path, std::int64_t restored_step) : path_(std::move(path)) {
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_ < 0) raise_errno(path_, "open", errno);
  if (restored_step > 0)
    end_ = static_cast<std::int64_t>(kept_bytes(read_text(path_), restored_step));
  if (::ftruncate(file_, end_) != 0 || ::lseek(file_, end_, SEEK_SET) < 0) {
    const int error = errno;
    ::close(file_);
    raise_errno(path_, "cut back to the restored step", error);
  }
}

MetricsLog::~MetricsLog() {
  ::close(file_);
}

void MetricsLog::write(const nlohmann::ordered_json& record) {
  const std::string line = record.dump() + "\n";
  const char* at = line.data();
  const char* const end = at + line.size();
  while (at < end) {
    const ssize_t written = ::write(file_, at, static_cast<std::size_t>(end - at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written == 0 ? ENOSPC : errno;
      if (::ftruncate(file_, end_) == 0) ::lseek(file_, end_, SEEK_SET);
      raise_errno(path_, "append a line", error);
    }
    at += written;
  }
  end_ += static_cast<std::int64_t>(line.size());
}

std::vector<nlohmann::json> read_metrics(const std::string& path) {
  std::vector<nlohmann::json> records;
  std::ifstream in(path);
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    auto record = nlohmann::json::parse(line, nullptr, false);
    if (!record.is_object()) {
      if (in.peek() == std::ifstream::traits_type::eof()) break;  // what a kill left of a last line
      throw core::DataError(path, "line " + std::to_string(number) + " is no JSON object",
                            "is this the metrics.jsonl of a run?");
    }
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace isaribi::report

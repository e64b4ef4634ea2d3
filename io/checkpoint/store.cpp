// SPDX-License-Identifier: MIT
// save and load: the order of steps that makes a checkpoint survive a kill at any instant.
#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "io/checkpoint/checkpoint.hpp"
#include "io/checkpoint/folder.hpp"
#include "io/checkpoint/format.hpp"

namespace isaribi::checkpoint {
namespace fs = std::filesystem;
namespace {

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw core::DataError(folder, "cannot create the folder: " + error.message(),
                          "check run/dir and its permissions");
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// The finished checkpoints as rank 0 sees them, newest first, on every rank.
std::vector<std::string> list_everywhere(const std::string& folder, comm::Communicator& comm) {
  std::string text;
  if (comm.is_root()) {
    for (const std::string& path : list(folder)) text += path + "\n";
  }
  return split_lines(comm.broadcast_string(text));
}

}  // namespace

std::string save(const std::string& folder, std::int64_t step, const State& state, int keep,
                 comm::Communicator& comm) {
  const std::string path = (fs::path(folder) / file_name(step)).string();
  const std::string temporary = path + ".tmp";
  comm::check_agreement(comm,
                        {{"state of the run at step " + std::to_string(step), checksum(state)}});
  comm::run_on_root(comm, [&] { make_folder(folder); });
  try {
    write_file(temporary, state, comm);
    comm::run_together(comm, [&] {
      verify_file(temporary, state, static_cast<std::size_t>(comm.rank()),
                  static_cast<std::size_t>(comm.size()));
    });
    comm::run_on_root(comm, [&] {
      publish(temporary, path);
      point_latest(folder, file_name(step));
    });
  } catch (const comm::CollectiveError&) {
    std::error_code ignored;  // raised on every rank alike; the leftover costs space only
    if (comm.is_root()) fs::remove(temporary, ignored);
    throw;
  }
  comm::run_on_root(comm, [&] { rotate(folder, keep, path); });
  return path;
}

State load(const std::string& path, comm::Communicator& comm) {
  State state;
  comm::run_together(comm, [&] { state = read_file(path); });
  return state;
}

std::optional<Loaded> load_latest(const std::string& folder, comm::Communicator& comm,
                                  core::Log& log) {
  const std::vector<std::string> candidates = list_everywhere(folder, comm);
  for (const std::string& path : candidates) {
    Loaded found{{}, path};
    try {
      found.state = load(path, comm);
    } catch (const comm::CollectiveError& error) {
      if (error.code() != core::ExitCode::data) throw;
      log.warn("checkpoint passed over: {}", error.cause());
      continue;
    }
    comm::run_on_root(comm, [&] { point_latest(folder, fs::path(path).filename().string()); });
    return found;
  }
  if (!candidates.empty()) {
    throw comm::CollectiveError(
        core::ExitCode::data,
        fmt::format("{}: none of its {} checkpoints can be used", folder, candidates.size()),
        "the warnings above say why; move the folder away to start from the beginning");
  }
  return std::nullopt;
}

}  // namespace isaribi::checkpoint

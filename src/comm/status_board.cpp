// SPDX-License-Identifier: MIT
#include "comm/status_board.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <sstream>

namespace isaribi::comm {
namespace {

struct ProcStat {
  bool seen = false;
  char state = '?';
  std::uint64_t born = 0;
};

/// Fields 3 and 22 of /proc/PID/stat (proc(5)); the name in field 2 may hold blanks, so count from
/// its last ')'.
ProcStat read_stat(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return {};
  const std::size_t paren = line.rfind(')');
  if (paren == std::string::npos) return {};
  std::istringstream rest(line.substr(paren + 1));
  ProcStat stat;
  stat.seen = true;
  rest >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) rest >> skipped;
  rest >> stat.born;
  return stat;
}

}  // namespace

std::uint64_t process_birth(pid_t pid) {
  return read_stat(pid).born;
}

ProcessState process_state(pid_t pid, std::uint64_t born) {
  const ProcStat stat = read_stat(pid);
  if (!stat.seen || stat.born != born) return ProcessState::dead;
  switch (stat.state) {
    case 'Z':
    case 'X':
      return ProcessState::dead;
    case 'T':
    case 't':
      return ProcessState::stopped;
    case 'D':
      return ProcessState::blocked;
    default:
      return ProcessState::alive;
  }
}

StatusBoard::StatusBoard(Communicator& node, int world_rank)
    : size_(node.size()), index_(node.rank()) {
  const std::size_t bytes = sizeof(Header) + static_cast<std::size_t>(size_) * sizeof(BoardSlot);
  window_ = node.make_shared_window(bytes);
  std::byte* base = window_->data();
  std::byte* lines = base + sizeof(Header);
  if (index_ == 0) new (base) Header;
  auto* own = new (lines + static_cast<std::size_t>(index_) * sizeof(BoardSlot)) BoardSlot;
  own->pid = getpid();
  own->born = process_birth(getpid());
  own->world_rank = world_rank;
  const std::string host = node.host();
  std::copy_n(host.begin(), std::min(host.size(), own->host.size() - 1), own->host.begin());
  header_ = std::launder(reinterpret_cast<Header*>(base));
  slots_ = std::launder(reinterpret_cast<BoardSlot*>(lines));
  fence();
}

void StatusBoard::set_phase(std::string_view name) const {
  BoardSlot& slot = mine();
  // A seqlock: readers retry while the version is odd or moves. Release and acquire on every letter
  // instead of fences (Boehm, MSPC 2012), which thread sanitizers do not know.
  const std::uint32_t version = slot.version.load(std::memory_order_relaxed);
  slot.version.store(version + 1, std::memory_order_relaxed);
  const std::size_t n = std::min(name.size(), BoardSlot::kTextBytes - 1);
  for (std::size_t i = 0; i < n; ++i) slot.phase[i].store(name[i], std::memory_order_release);
  slot.phase[n].store('\0', std::memory_order_release);
  slot.version.store(version + 2, std::memory_order_release);
}

std::string StatusBoard::phase_of(int index) const {
  const BoardSlot& slot = slots_[index];
  std::string text;
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::uint32_t before = slot.version.load(std::memory_order_acquire);
    text.clear();
    for (const std::atomic<char>& c : slot.phase) {
      const char letter = c.load(std::memory_order_acquire);
      if (letter == '\0') break;
      text += letter;
    }
    if (before % 2 == 0 && slot.version.load(std::memory_order_relaxed) == before) break;
  }
  return text;
}

bool StatusBoard::claim() const {
  std::uint32_t expected = 0;
  return header_->claimed.compare_exchange_strong(expected, 1);
}

}  // namespace isaribi::comm

// SPDX-License-Identifier: MIT
#include "comm/watchdog.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "comm/status_board.hpp"

namespace isaribi::comm {
namespace {

constexpr double kLongestGap = 0.5;  // seconds between polls that count as time awake
constexpr double kAbortGrace =
    3.0;  // seconds the speaker has before the other ranks leave by themselves
constexpr std::size_t kNamedRanks = 8;  // in one message

void write_to_stderr(const std::string& message) {
  // One write: lines of other ranks cannot come between. Not stdio, whose lock a hung thread may
  // hold.
  static_cast<void>(!::write(STDERR_FILENO, message.data(), message.size()));
}

std::string step_text(std::int64_t step) {
  return step < 0 ? std::string("before the first step") : fmt::format("at step {}", step);
}

std::string describe(const StatusBoard& board, int index) {
  const BoardSlot& slot = board.slot(index);
  const std::string phase = board.phase_of(index);
  return fmt::format("in phase \"{}\" {}", phase.empty() ? "start" : phase,
                     step_text(slot.step.load()));
}

std::string who(const BoardSlot& slot) {
  return fmt::format("rank {} on {} (process {})", slot.world_rank, slot.host.data(), slot.pid);
}

/// All signals blocked while it lives, so that a thread made meanwhile leaves them to the main
/// thread.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

/// The observer of the phase timers. It may outlive the board, so the link can be cut.
struct Publisher {
  const StatusBoard* board = nullptr;
  std::vector<std::string> open_phases;

  void beat() const {
    if (board == nullptr) return;
    std::atomic<std::uint64_t>& beats = board->mine().beats;
    beats.store(beats.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  /// After the outermost phase its name stays: the last phase is what a message needs.
  void observe(std::string_view name) {
    if (board == nullptr) return;
    if (!name.empty()) {
      open_phases.emplace_back(name);
      board->set_phase(name);
    } else if (!open_phases.empty()) {
      open_phases.pop_back();
      if (!open_phases.empty()) board->set_phase(open_phases.back());
    }
    beat();
  }
};

}  // namespace

struct Watchdog::Impl {
  Impl(Communicator& world_, WatchdogOptions options_)
      : world(world_),
        options(std::move(options_)),
        node(world.split_node()),
        board(*node, world.rank()) {
    const auto n = static_cast<std::size_t>(board.size());
    visible.resize(n);
    seen.resize(n);
    for (int i = 0; i < board.size(); ++i) {
      // Ranks in containers of their own have process numbers that mean nothing here.
      const BoardSlot& slot = board.slot(i);
      visible[static_cast<std::size_t>(i)] =
          slot.born != 0 && process_birth(static_cast<pid_t>(slot.pid)) == slot.born;
    }
    board.mine().state.store(BoardSlot::running);
    world.publish_calls(&board.mine().calls);
    publisher->board = &board;
    board.fence();
    const SignalsBlocked blocked;
    thread = std::thread([this] { run(); });
  }

  ~Impl() {
    // An error is on its way to the one who tells it: from here on this watchdog and its peers are
    // silent.
    if (std::uncaught_exceptions() > exceptions) board.mine().calls.leaving.store(1);
    world.publish_calls(nullptr);
    publisher->board = nullptr;
    board.mine().state.store(BoardSlot::done);
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_all();
    thread.join();
  }

  void run() {
    double last = core::now_seconds();
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, std::chrono::duration<double>(options.poll_seconds),
                          [this] { return stopping; })) {
      // Time while this process was stopped or starved is nobody's hang: a whole job may be
      // suspended and go on later.
      const double now = core::now_seconds();
      awake += std::min(now - last, kLongestGap);
      last = now;
      if (someone_leaves()) continue;
      look_for_deaths();
      if (options.hang_seconds > 0) look_for_hangs();
    }
  }

  /// A rank that fails says why and aborts; what happens to the others then is no news.
  bool someone_leaves() const {
    for (int i = 0; i < board.size(); ++i) {
      if (board.slot(i).calls.leaving.load() != 0) return true;
    }
    return false;
  }
  bool is_running(int index) const {
    const BoardSlot& slot = board.slot(index);
    return slot.state.load() == BoardSlot::running;
  }
  bool is_dead(int index) const {
    if (!visible[static_cast<std::size_t>(index)]) return false;
    const BoardSlot& slot = board.slot(index);
    // The order matters: a rank that ends well says so before it is gone.
    return process_state(static_cast<pid_t>(slot.pid), slot.born) == ProcessState::dead &&
           is_running(index) && slot.calls.leaving.load() == 0;
  }

  /// Only the next running rank: between any death and any survivor on a ring there is a survivor
  /// beside a death.
  void look_for_deaths() {
    for (int k = 1; k < board.size(); ++k) {
      const int next = (board.my_index() + k) % board.size();
      if (!is_running(next)) continue;
      if (is_dead(next)) report_deaths();
      return;
    }
  }

  void report_deaths() {
    std::string text;
    std::size_t named = 0;
    for (int i = 0; i < board.size() && named < kNamedRanks; ++i) {
      if (!is_dead(i)) continue;
      ++named;
      text += fmt::format("error: {} died {}\n", who(board.slot(i)), describe(board, i));
    }
    alarm(text +
          "  hint: it was killed or crashed (out of memory? see dmesg or the scheduler's record); "
          "start the same\n"
          "        command again: a run goes on from its last good checkpoint\n");
  }

  /// What this watchdog has seen of one rank.
  struct Seen {
    std::uint64_t beats = 0;
    double since = 0;  ///< time awake when the beats last moved
  };

  void look_for_hangs() {
    std::vector<int> culprits;
    bool all_silent = true;
    double shortest = 1e300;
    for (int i = 0; i < board.size(); ++i) {
      if (!is_running(i)) continue;
      const BoardSlot& slot = board.slot(i);
      Seen& s = seen[static_cast<std::size_t>(i)];
      const std::uint64_t beats = slot.beats.load(std::memory_order_relaxed);
      if (beats != s.beats) s = {beats, awake};
      const double silent = awake - s.since;
      shortest = std::min(shortest, silent);
      if (silent < options.hang_seconds) {
        all_silent = false;
      } else if (slot.calls.waiting.load() == 0 || state_of(i) == ProcessState::stopped) {
        culprits.push_back(i);
      }
    }
    if (!culprits.empty()) {
      report_hangs(culprits);
    } else if (all_silent && shortest < 1e300 && shortest > 1.25 * options.hang_seconds + 1) {
      report_waiting(shortest);
    }
  }

  ProcessState state_of(int index) const {
    const BoardSlot& slot = board.slot(index);
    if (!visible[static_cast<std::size_t>(index)]) return ProcessState::alive;
    return process_state(static_cast<pid_t>(slot.pid), slot.born);
  }

  void report_hangs(const std::vector<int>& culprits) {
    std::string text;
    for (std::size_t k = 0; k < std::min(culprits.size(), kNamedRanks); ++k) {
      const int i = culprits[k];
      const ProcessState state = state_of(i);
      const char* why = state == ProcessState::stopped
                            ? "; the process is stopped (SIGSTOP, a debugger)"
                        : state == ProcessState::blocked ? "; it waits for a disk or file system"
                                                         : "";
      text +=
          fmt::format("error: {} hangs {}: no sign of life for {:.1f} s{}\n", who(board.slot(i)),
                      describe(board, i), awake - seen[static_cast<std::size_t>(i)].since, why);
    }
    if (culprits.size() > kNamedRanks)
      text += fmt::format("  and {} more ranks\n", culprits.size() - kNamedRanks);
    alarm(text + hang_hint());
  }

  void report_waiting(double seconds) {
    const int i = board.my_index();
    alarm(fmt::format("error: all {} ranks on {} have waited {:.1f} s for other ranks; {} {}\n",
                      board.size(), board.slot(i).host.data(), seconds, who(board.slot(i)),
                      describe(board, i)) +
          hang_hint());
  }

  std::string hang_hint() const {
    return fmt::format(
        "  hint: a rank or node that does not answer; start the same command again: a run goes on "
        "from its last\n"
        "        good checkpoint. run/watchdog_seconds (now {:g}) must exceed the longest quiet "
        "phase\n",
        options.hang_seconds);
  }

  void alarm(const std::string& message) {
    if (board.claim()) {
      options.report(message);
      world.abort(core::ExitCode::comm);
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(kAbortGrace));
    _exit(static_cast<int>(core::ExitCode::comm));
  }

  Communicator& world;
  WatchdogOptions options;
  std::unique_ptr<Communicator> node;
  StatusBoard board;
  std::shared_ptr<Publisher> publisher = std::make_shared<Publisher>();
  std::vector<bool> visible;
  std::vector<Seen> seen;
  double awake = 0;
  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  int exceptions = std::uncaught_exceptions();
  std::thread thread;
};

Watchdog::Watchdog(Communicator& world, core::PhaseTimers& timers, WatchdogOptions options) {
  if (!options.report) options.report = write_to_stderr;
  impl_ = std::make_unique<Impl>(world, std::move(options));
  timers.add_observer(
      [publisher = impl_->publisher](std::string_view name) { publisher->observe(name); });
}

Watchdog::~Watchdog() = default;

void Watchdog::set_step(std::int64_t step) {
  impl_->board.mine().step.store(step, std::memory_order_relaxed);
  impl_->publisher->beat();
}

void Watchdog::beat() {
  impl_->publisher->beat();
}

}  // namespace isaribi::comm

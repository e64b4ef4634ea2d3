// SPDX-License-Identifier: MIT
#include "app/stop_requests.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <csignal>
#include <ctime>
#include <vector>

#include "core/error.hpp"
#include "core/timer.hpp"

namespace isaribi::app {
namespace {

constexpr double kFileCheckSeconds = 0.5;

// The one place where a process-wide variable cannot be avoided: what a signal handler may touch.
volatile std::sig_atomic_t last_signal = 0;
volatile std::sig_atomic_t handlers_installed = 0;
struct sigaction usr1_before, term_before;

extern "C" void note_signal(int number) {
  last_signal = number;
}

std::optional<double> to_number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Digits only.
std::optional<int> to_count(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0) {
    return std::nullopt;
  }
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

/// "[D-]HH:MM:SS" or "MM:SS".
std::optional<double> clock_duration(std::string_view text) {
  double days = 0;
  const std::size_t dash = text.find('-');
  if (dash != std::string_view::npos) {
    const auto count = to_count(text.substr(0, dash));
    if (!count) return std::nullopt;
    days = *count;
    text.remove_prefix(dash + 1);
  }
  const std::vector<std::string_view> parts = split(text, ':');
  if (parts.size() > 3 || parts.size() < (dash == std::string_view::npos ? 2u : 3u))
    return std::nullopt;
  double seconds = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto count = to_count(parts[i]);
    if (!count || (i > 0 && *count >= 60)) return std::nullopt;
    seconds = seconds * 60 + *count;
  }
  return days * 86400 + seconds;
}

/// "90", "90s", "1.5h", ...
std::optional<double> unit_duration(std::string_view text) {
  double unit = 1;
  if (!text.empty()) {
    switch (text.back()) {
      case 's':
        unit = 1;
        break;
      case 'm':
        unit = 60;
        break;
      case 'h':
        unit = 3600;
        break;
      case 'd':
        unit = 86400;
        break;
      default:
        unit = 0;
    }
    if (unit > 0) {
      text.remove_suffix(1);
    } else {
      unit = 1;
    }
  }
  const auto value = to_number(text);
  if (!value) return std::nullopt;
  return *value * unit;
}

[[noreturn]] void not_a_deadline(std::string_view text, std::string_view key) {
  throw core::UsageError(
      std::string(key) + ": \"" + std::string(text) + "\" is not a date and time",
      "write ISO 8601: 2026-03-31T09:30 (local time), 2026-03-31T09:30:00Z or "
      "2026-03-31T09:30+09:00");
}

struct Zone {
  bool local = true;
  int offset_seconds = 0;  ///< east of UTC
};

/// Cuts "Z" or "+HH:MM" off the end of the time of day.
std::optional<Zone> cut_zone(std::string_view& time) {
  if (!time.empty() && (time.back() == 'Z' || time.back() == 'z')) {
    time.remove_suffix(1);
    return Zone{false, 0};
  }
  const std::size_t at = time.find_first_of("+-");
  if (at == std::string_view::npos) return Zone{};
  const std::vector<std::string_view> parts = split(time.substr(at + 1), ':');
  const int sign = time[at] == '-' ? -1 : 1;
  time = time.substr(0, at);
  const auto hours = to_count(parts[0]);
  const auto minutes = parts.size() > 1 ? to_count(parts[1]) : std::optional<int>(0);
  if (!hours || !minutes || *hours > 14 || *minutes > 59 || parts.size() > 2) return std::nullopt;
  return Zone{false, sign * (*hours * 3600 + *minutes * 60)};
}

}  // namespace

double parse_duration(std::string_view text, std::string_view key) {
  const bool as_clock = text.find(':') != std::string_view::npos;
  const std::optional<double> seconds = as_clock ? clock_duration(text) : unit_duration(text);
  if (!seconds || !std::isfinite(*seconds) || *seconds <= 0) {
    throw core::UsageError(
        std::string(key) + ": \"" + std::string(text) + "\" is not a duration above zero",
        "write seconds (3600), a number with a unit (90m, 1.5h, 2d), or HH:MM:SS, D-HH:MM:SS, "
        "MM:SS");
  }
  return *seconds;
}

WallClock::time_point parse_deadline(std::string_view text, std::string_view key) {
  const std::size_t gap = text.find_first_of("T ");
  if (gap == std::string_view::npos) not_a_deadline(text, key);
  std::string_view time = text.substr(gap + 1);
  const std::optional<Zone> zone = cut_zone(time);
  const std::vector<std::string_view> date = split(text.substr(0, gap), '-');
  const std::vector<std::string_view> clock = split(time, ':');
  if (!zone || date.size() != 3 || clock.size() < 2 || clock.size() > 3) not_a_deadline(text, key);
  std::array<int, 6> field{};
  for (std::size_t i = 0; i < 3 + clock.size(); ++i) {
    const auto count = to_count(i < 3 ? date[i] : clock[i - 3]);
    if (!count) not_a_deadline(text, key);
    field[i] = *count;
  }
  const std::chrono::year_month_day day(std::chrono::year(field[0]),
                                        std::chrono::month(static_cast<unsigned>(field[1])),
                                        std::chrono::day(static_cast<unsigned>(field[2])));
  if (!day.ok() || field[0] < 1970 || field[3] > 23 || field[4] > 59 || field[5] > 60) {
    not_a_deadline(text, key);
  }
  std::tm broken{};
  broken.tm_year = field[0] - 1900;
  broken.tm_mon = field[1] - 1;
  broken.tm_mday = field[2];
  broken.tm_hour = field[3];
  broken.tm_min = field[4];
  broken.tm_sec = field[5];
  broken.tm_isdst = -1;  // the system knows whether summer time holds
  const std::time_t seconds =
      zone->local ? std::mktime(&broken) : timegm(&broken) - zone->offset_seconds;
  return WallClock::from_time_t(seconds);
}

StopRequests::StopRequests(StopOptions options) : options_(std::move(options)) {
  if (handlers_installed != 0) throw core::InternalError("two StopRequests in one process");
  const WallClock::time_point now = WallClock::now();
  end_ = options_.deadline;
  if (options_.walltime_seconds) {
    const auto budget = std::chrono::duration_cast<WallClock::duration>(
        std::chrono::duration<double>(*options_.walltime_seconds));
    end_ = end_ ? std::min(*end_, now + budget) : now + budget;
  }
  if (end_) {
    const double left = std::chrono::duration<double>(*end_ - now).count();
    margin_ =
        options_.margin_seconds >= 0 ? options_.margin_seconds : std::clamp(0.05 * left, 1.0, 60.0);
  }
  last_signal = 0;
  handlers_installed = 1;
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;  // file and MPI calls go on: the answer is given at the next step
  sigemptyset(&action.sa_mask);
  sigaction(SIGUSR1, &action, &usr1_before);
  sigaction(SIGTERM, &action, &term_before);
}

StopRequests::~StopRequests() {
  sigaction(SIGUSR1, &usr1_before, nullptr);
  sigaction(SIGTERM, &term_before, nullptr);
  handlers_installed = 0;
}

std::string StopRequests::reason() {
  if (reason_.empty()) reason_ = look();
  return reason_;
}

std::string StopRequests::look() {
  if (last_signal == SIGUSR1) return "signal USR1";
  if (last_signal == SIGTERM) return "signal TERM";
  if (const std::optional<double> left = seconds_left(); left && *left <= 0) return "walltime";
  if (stop_file_seen()) return "file " + options_.stop_file;
  return {};
}

std::optional<double> StopRequests::seconds_left() const {
  if (!end_) return std::nullopt;
  const double left = std::chrono::duration<double>(*end_ - WallClock::now()).count();
  return left - margin_ - 2 * longest_checkpoint_;
}

bool StopRequests::stop_file_seen() {
  if (options_.stop_file.empty()) return false;
  const double now = core::now_seconds();
  if (now < next_file_check_) return false;
  next_file_check_ = now + kFileCheckSeconds;
  struct stat status {};
  if (stat(options_.stop_file.c_str(), &status) != 0) return false;
  unlink(options_.stop_file.c_str());
  return true;
}

void StopRequests::checkpoint_took(double seconds) {
  longest_checkpoint_ = std::max(longest_checkpoint_, seconds);
}

}  // namespace isaribi::app

// SPDX-License-Identifier: MIT
// Durations, deadlines, and the reasons to stop early.
#include "app/stop_requests.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "catch.hpp"
#include "core/error.hpp"

using namespace isaribi;
using app::parse_deadline;
using app::parse_duration;
using app::StopOptions;
using app::StopRequests;
using app::WallClock;

TEST_CASE("durations as users and schedulers write them") {
  CHECK(parse_duration("90", "w") == 90);
  CHECK(parse_duration("90s", "w") == 90);
  CHECK(parse_duration("90m", "w") == 5400);
  CHECK(parse_duration("2h", "w") == 7200);
  CHECK(parse_duration("1.5h", "w") == 5400);
  CHECK(parse_duration("2d", "w") == 172800);
  CHECK(parse_duration("05:30", "w") == 330);  // MM:SS, as Slurm and PBS read it
  CHECK(parse_duration("01:02:03", "w") == 3723);
  CHECK(parse_duration("100:00:00", "w") == 360000);
  CHECK(parse_duration("1-02:03:04", "w") == 86400 + 7384);
}

TEST_CASE("a wrong duration names its key and says how to write one") {
  for (const char* text : {"", "soon", "-5", "0", "0s", "h", "1:2:3:4", "1:60", "1-02", "1-02:03",
                           "12:", "5 m", "nan", "inf", "1e400", "::", "-1:00", "+5"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_duration(text, "--walltime"), core::UsageError);
  }
  try {
    parse_duration("soon", "--walltime");
  } catch (const core::UsageError& error) {
    CHECK(error.cause().find("--walltime: \"soon\"") == 0);
    CHECK(error.hint().find("HH:MM:SS") != std::string::npos);
  }
}

TEST_CASE("deadlines are ISO 8601, with and without a zone") {
  const auto seconds = [](const char* text) {
    return WallClock::to_time_t(parse_deadline(text, "--deadline"));
  };
  CHECK(seconds("1970-01-02T00:00Z") == 86400);
  CHECK(seconds("2026-03-31T00:30:00Z") == 1774917000);
  CHECK(seconds("2026-03-31T09:30+09:00") == 1774917000);
  CHECK(seconds("2026-03-30T19:30:00-05:00") == 1774917000);
  CHECK(seconds("2026-03-31T09:30+09") == 1774917000);
  std::tm local{};
  local.tm_year = 126;
  local.tm_mon = 2;
  local.tm_mday = 31;
  local.tm_hour = 9;
  local.tm_min = 30;
  local.tm_isdst = -1;
  CHECK(seconds("2026-03-31T09:30") == std::mktime(&local));
  CHECK(seconds("2026-03-31 09:30:00") == std::mktime(&local));
}

TEST_CASE("a wrong deadline is refused") {
  for (const char* text :
       {"", "tomorrow", "2026-03-31", "2026-02-30T00:00Z", "2026-13-01T00:00Z", "2026-03-31T25:00Z",
        "2026-03-31T09:61Z", "2026-03-31T09", "2026-03-31T09:30+99:00", "2026-03-31T09:30+",
        "26-3-31T9:30x", "2026-03-31T09:30:00.5Z", "99999999999-01-01T00:00Z"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_deadline(text, "--deadline"), core::UsageError);
  }
}

TEST_CASE("without a request nothing stops, and USR1 and TERM do") {
  {
    StopRequests stop;
    CHECK(stop.reason().empty());
    CHECK_FALSE(stop.seconds_left().has_value());
    CHECK_THROWS_AS(StopRequests(), core::InternalError);
    std::raise(SIGUSR1);
    CHECK(stop.reason() == "signal USR1");
    CHECK(stop.stop_requested_locally());
    std::raise(SIGTERM);
    CHECK(stop.reason() == "signal USR1");  // the first reason stays
  }
  StopRequests again;
  CHECK(again.reason().empty());
  std::raise(SIGTERM);
  CHECK(again.reason() == "signal TERM");
}

TEST_CASE("time is up early enough for two of the longest checkpoint") {
  StopOptions options;
  options.walltime_seconds = 1000;
  options.margin_seconds = 10;
  StopRequests stop(options);
  CHECK(*stop.seconds_left() == Approx(990).margin(1));
  CHECK(stop.reason().empty());
  stop.checkpoint_took(100);
  stop.checkpoint_took(20);
  CHECK(*stop.seconds_left() == Approx(790).margin(1));
  stop.checkpoint_took(500);
  CHECK(stop.reason() == "walltime");
}

TEST_CASE("the earlier of walltime and deadline counts, and the margin follows it") {
  StopOptions options;
  options.walltime_seconds = 1e6;
  options.deadline = WallClock::now() + std::chrono::seconds(200);
  CHECK(*StopRequests(options).seconds_left() == Approx(190).margin(1));  // 5 %
  options.deadline = WallClock::now() - std::chrono::seconds(1);
  CHECK(StopRequests(options).reason() == "walltime");
}

TEST_CASE("a STOP file stops once") {
  char folder[] = "/tmp/isaribi_stop_XXXXXX";
  REQUIRE(mkdtemp(folder) != nullptr);
  StopOptions options;
  options.stop_file = std::string(folder) + "/STOP";
  {
    StopRequests none(options);
    CHECK(none.reason().empty());
  }
  std::ofstream(options.stop_file) << "";
  {
    StopRequests stop(options);
    CHECK(stop.reason() == "file " + options.stop_file);
    CHECK(access(options.stop_file.c_str(), F_OK) != 0);
    CHECK(stop.stop_requested_locally());
  }
  StopRequests next(options);
  CHECK(next.reason().empty());
  rmdir(folder);
}

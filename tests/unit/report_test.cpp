// SPDX-License-Identifier: MIT
// metrics.jsonl and status.json as other programs meet them, and the report made from them.
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "catch.hpp"
#include "core/error.hpp"
#include "io/report/axis.hpp"
#include "io/report/curvature.hpp"
#include "io/report/metrics.hpp"
#include "io/report/page.hpp"
#include "temporary_folder.hpp"

using namespace isaribi;

namespace {

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_steps(const std::string& path, int from, int to, int restored) {
  report::MetricsLog log(path, restored);
  for (int step = from; step <= to; ++step)
    log.write({{"kind", "train"}, {"step", step}, {"epoch", 0.5 * step}, {"loss", 2.0 / step}});
}

}  // namespace

TEST_CASE("metrics: a restarted run continues the file of an uninterrupted one") {
  const TemporaryFolder folder;
  const std::string calm = folder.file("calm.jsonl"), broken = folder.file("broken.jsonl");
  write_steps(calm, 1, 9, 0);
  write_steps(broken, 1, 7, 0);
  std::ofstream(broken, std::ios::app) << "{\"kind\":\"train\",\"st";  // what a kill leaves
  write_steps(broken, 5, 9, 4);
  CHECK(text_of(broken) == text_of(calm));
  CHECK(report::read_metrics(broken).size() == 9);
  write_steps(broken, 1, 2, 0);
  CHECK(report::read_metrics(broken).size() == 2);
}

TEST_CASE("metrics: a torn last line is passed over, a torn line in the middle is an error") {
  const TemporaryFolder folder;
  const std::string path = folder.file("m.jsonl");
  std::ofstream(path) << "{\"step\":1}\n{\"st";
  CHECK(report::read_metrics(path).size() == 1);
  std::ofstream(path) << "{\"step\":1}\n{\"st\n{\"step\":3}\n";
  CHECK_THROWS_AS(report::read_metrics(path), core::DataError);
  CHECK(report::read_metrics(folder.file("absent")).empty());
}

TEST_CASE("metrics: a folder that is not there is named") {
  try {
    const report::MetricsLog log("/nowhere/at/all/metrics.jsonl", 0);
    FAIL("opened");
  } catch (const core::DataError& error) {
    CHECK(error.file() == "/nowhere/at/all/metrics.jsonl");
    CHECK(error.code() == core::ExitCode::data);
    CHECK_FALSE(error.hint().empty());
  }
}

TEST_CASE("status: written whole, read back; what is not known is null") {
  const TemporaryFolder folder;
  CHECK_FALSE(report::read_status(folder.path()).has_value());
  report::write_status(folder.path(), {.state = "stopped",
                                       .exit = 75,
                                       .step = 12,
                                       .epoch = 1.5,
                                       .test_accuracy = 0.25,
                                       .test_loss = NAN,
                                       .samples_per_s = 1000,
                                       .wall_s = 2,
                                       .attempts = 3,
                                       .error = "a \"reason\""});
  const std::string text = text_of(folder.file("status.json"));
  CHECK(text.find("\"test_loss\":null") != std::string::npos);
  CHECK(text.find('\n') == text.size() - 1);
  const report::Status s = report::read_status(folder.path()).value();
  CHECK(s.state == "stopped");
  CHECK(s.exit == 75);
  CHECK(s.step == 12);
  CHECK(s.test_accuracy == 0.25);
  CHECK(s.test_loss == -1);
  CHECK(s.attempts == 3);
  CHECK(s.error == "a \"reason\"");
  std::ofstream(folder.file("status.json")) << "{";
  CHECK_THROWS_AS(report::read_status(folder.path()), core::DataError);
}

TEST_CASE("report: figures, table and page; a run without metrics is named") {
  const TemporaryFolder folder;
  const std::string a = folder.file("a"), b = folder.file("b<i>");
  for (const std::string& run : {a, b}) {
    mkdir(run.c_str(), 0777);
    write_steps(run + "/metrics.jsonl", 1, 6, 0);
    report::write_status(run, {.state = "finished", .step = 6});
  }
  std::ofstream(a + "/deck.toml") << "lr = 1 # <b>\n";
  for (const std::string& file : report::write_report({a, b}, folder.file("out"))) {
    INFO(file);
    CHECK(text_of(file).size() > 100);
  }
  const std::string page = text_of(folder.file("out/index.html"));
  CHECK(page.find("b&lt;i&gt;") != std::string::npos);
  CHECK(page.find("<b>\n") == std::string::npos);
  CHECK(page.find("src=\"http") == std::string::npos);
  CHECK(text_of(folder.file("out/loss.png")).substr(1, 3) == "PNG");
  const std::string csv = text_of(folder.file("out/metrics.csv"));
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 13);
  CHECK_THROWS_AS(report::write_report({folder.path()}, folder.file("out")), core::DataError);
}

TEST_CASE("axis: round ticks inside the range, also for hard cases") {
  for (const auto& values : std::vector<std::vector<double>>{
           {}, {0}, {5}, {1, 2}, {-3, 1e-9}, {1e-12, 2e-12}, {1e9, 3e9}, {NAN, 1, INFINITY}}) {
    for (const bool log : {false, true}) {
      const report::Axis axis = report::make_axis(values, log, false, 0.05, 5);
      CHECK(axis.low < axis.high);
      CHECK(axis.ticks.size() < 40);
      for (const report::Tick& tick : axis.ticks) {
        CHECK(axis.place(tick.value) >= -1e-6);
        CHECK(axis.place(tick.value) <= 1 + 1e-6);
      }
    }
  }
}

TEST_CASE("curvature: one curve per layer, against the damping, and none for a first-order run") {
  std::vector<nlohmann::json> rows{{{"kind", "train"}, {"step", 1}, {"loss", 2.0}}};
  CHECK(report::curvature_charts(rows).empty());
  for (const int step : {10, 20}) {
    rows.push_back(
        {{"kind", "curvature"}, {"step", step}, {"damping", 0.5}, {"kl_clip_factor", 1.0}});
    for (const char* name : {"conv1", "fc"}) {
      rows.push_back({{"kind", "layer"},
                      {"step", step},
                      {"layer", name},
                      {"damping", 0.5},
                      {"top_eigenvalue", 0.1 * step},
                      {"median_eigenvalue", 0.0},
                      {"cosine", 0.9}});
    }
  }
  const auto charts = report::curvature_charts(rows);
  const auto named = [&](const std::string& file) -> const report::Chart* {
    for (const auto& [name, chart] : charts) {
      if (name == file) return &chart;
    }
    return nullptr;
  };
  REQUIRE(named("top_eigenvalue.png") != nullptr);
  const report::Chart& top = *named("top_eigenvalue.png");
  REQUIRE(top.series.size() == 2);
  CHECK(top.series[1].label == "fc");
  CHECK(top.series[1].x == std::vector<double>{10, 20});
  CHECK(top.series[1].y[1] == Approx(4.0));          // 2 / 0.5
  CHECK(named("median_eigenvalue.png") == nullptr);  // zeros have no place on a logarithm
  REQUIRE(named("damping.png") != nullptr);
  CHECK(named("damping.png")->series.size() == 2);
}

// SPDX-License-Identifier: MIT
#include "io/report/page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "io/report/chart.hpp"
#include "io/report/curvature.hpp"
#include "io/report/files.hpp"
#include "io/report/metrics.hpp"

namespace isaribi::report {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

struct Run {
  std::string name, folder, deck;
  std::vector<json> rows;
  Status status;
};

struct Figure {
  std::string file;
  Chart chart;
};

Run read_run(const std::string& folder) {
  Run run{.name = fs::path(folder).lexically_normal().filename().string(),
          .folder = folder,
          .deck = {},
          .rows = {},
          .status = {}};
  if (run.name.empty())
    run.name = fs::path(folder).lexically_normal().parent_path().filename().string();
  run.rows = read_metrics((fs::path(folder) / "metrics.jsonl").string());
  if (run.rows.empty())
    throw core::DataError(folder, "its metrics.jsonl is empty",
                          "train for at least train/log_every steps first");
  run.status = read_status(folder).value_or(Status{.state = "unknown"});
  std::error_code ignored;
  const fs::path deck = fs::path(folder) / "deck.toml";
  if (fs::exists(deck, ignored)) run.deck = read_text(deck.string());
  return run;
}

// Values of `key` over epochs, from the rows of one kind ("train", "test") that have it.
Series series(const Run& run, const std::string& kind, const std::string& key, int color) {
  Series s{.label = {}, .x = {}, .y = {}, .color = color};
  for (const json& row : run.rows) {
    if (row.value("kind", "") != kind || !row.contains(key) || !row[key].is_number()) continue;
    s.x.push_back(row.value("epoch", 0.0));
    s.y.push_back(row[key].get<double>());
  }
  return s;
}

// Training thin and pale, test strong and with its last value; with several runs each has its
// colour.
Chart curves(const std::vector<Run>& runs, const std::string& key, Chart chart) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const bool only_train = series(runs[i], "test", key, 0).x.empty();
    for (const char* kind : {"train", "test"}) {
      const bool test = std::string(kind) == "test";
      Series s =
          series(runs[i], kind, key, runs.size() == 1 ? (test ? 0 : 1) : static_cast<int>(i));
      if (s.x.empty()) continue;
      s.label = runs.size() == 1 ? kind : test || only_train ? runs[i].name : "";
      s.faint = !test && !only_train;
      s.markers = test && s.x.size() <= 40;
      if (test)
        s.note = chart.percent ? fmt::format("{:.2f} %", 100 * s.y.back())
                               : fmt::format("{:.4g}", s.y.back());
      chart.series.push_back(std::move(s));
    }
  }
  if (runs.size() > 1 && !chart.series.empty() && chart.series.front().faint)
    chart.y_label += " (pale: training)";
  return chart;
}

// Shares of the time of training, stacked; the rest is what no phase counts.
Chart time_shares(const Run& run) {
  Chart chart{.title = "Time",
              .x_label = "epoch",
              .y_label = "share of training time, rank 0",
              .series = {},
              .percent = true,
              .from_zero = true};
  const std::pair<const char*, const char*> phases[] = {
      {"forward", "forward"},         {"backward", "backward"}, {"update", "update"},
      {"communicate", "communicate"}, {"data", "data"},         {"", "rest"}};
  const Series whole = series(run, "train", "seconds", 0);
  std::vector<double> sum(whole.x.size(), 0.0);
  int color = 0;
  for (const auto& [phase, label] : phases) {
    const Series part = series(run, "train", std::string("seconds_") + phase, color);
    const bool rest = *phase == '\0';
    if (!rest && part.y.size() != whole.y.size()) return {};
    Series stacked{.label = label, .x = whole.x, .y = {}, .color = color++, .filled = true};
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i] = rest ? 1 : std::min(1.0, sum[i] + part.y[i] / whole.y[i]);
      stacked.y.push_back(sum[i]);
    }
    chart.series.insert(chart.series.begin(), std::move(stacked));  // the highest first
  }
  if (whole.x.size() < 2) return {};
  return chart;
}

std::vector<Figure> figures(const std::vector<Run>& runs) {
  std::vector<Figure> all;
  all.push_back({"loss.png", curves(runs, "loss",
                                    {.title = "Loss",
                                     .x_label = "epoch",
                                     .y_label = "loss per sample",
                                     .series = {},
                                     .log_y = true})});
  all.push_back({"accuracy.png", curves(runs, "accuracy",
                                        {.title = "Accuracy",
                                         .x_label = "epoch",
                                         .y_label = "top-1 accuracy",
                                         .series = {},
                                         .percent = true,
                                         .focus = 0.95})});
  all.push_back({"learning_rate.png", curves(runs, "lr",
                                             {.title = "Learning rate",
                                              .x_label = "epoch",
                                              .y_label = "learning rate",
                                              .series = {}})});
  all.push_back({"throughput.png", curves(runs, "samples_per_s",
                                          {.title = "Throughput",
                                           .x_label = "epoch",
                                           .y_label = "samples per second",
                                           .series = {},
                                           .from_zero = true})});
  if (runs.size() == 1) all.push_back({"time.png", time_shares(runs.front())});
  if (runs.size() == 1) {
    for (auto& [file, chart] : curvature_charts(runs.front().rows))
      all.push_back({file, std::move(chart)});
  }
  std::erase_if(all, [](const Figure& f) { return f.chart.series.empty(); });
  return all;
}

std::string csv(const std::vector<Run>& runs) {
  const char* keys[] = {"step", "epoch", "loss", "accuracy", "lr", "samples_per_s", "seconds"};
  std::string out = "run,kind";
  for (const char* key : keys) out += fmt::format(",{}", key);
  out += "\n";
  for (const Run& run : runs) {
    for (const json& row : run.rows) {
      out += fmt::format("{},{}", run.name, row.value("kind", ""));
      for (const char* key : keys)
        out += fmt::format(",{}", row.contains(key) ? row[key].dump() : "");
      out += "\n";
    }
  }
  return out;
}

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string number_or_dash(double value, double factor, int digits, const char* unit) {
  return value < 0 ? "–" : fmt::format("{:.{}f}{}", value * factor, digits, unit);
}

std::string table(const std::vector<Run>& runs) {
  std::string out =
      "<table><tr><th>run</th><th>state</th><th>steps</th><th>epochs</th><th>test accuracy</th>"
      "<th>test loss</th><th>samples/s</th><th>wall time</th><th>starts</th></tr>\n";
  for (const Run& r : runs) {
    const Status& s = r.status;
    out += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2f}</td><td>{}</td><td>{}</td><td>{:.0f}</td>"
        "<td>{:.0f} s</td><td>{}</td></tr>\n",
        escape(r.name), escape(s.state), s.step, s.epoch,
        number_or_dash(s.test_accuracy, 100, 2, " %"), number_or_dash(s.test_loss, 1, 4, ""),
        s.samples_per_s, s.wall_s, s.attempts);
  }
  return out + "</table>\n";
}

// A prefix makes the ids that Cairo gives its glyphs unique within the page.
std::string unique_ids(std::string svg, std::size_t number) {
  const std::string prefix = fmt::format("f{}-", number);
  for (const std::string& mark :
       {std::string("id=\""), std::string("href=\"#"), std::string("url(#")}) {
    for (std::size_t at = svg.find(mark); at != std::string::npos;
         at = svg.find(mark, at + mark.size())) {
      svg.insert(at + mark.size(), prefix);
    }
  }
  return svg;
}

constexpr const char* kStyle = R"(<style>
body{font:15px/1.5 "DejaVu Sans",system-ui,sans-serif;color:#292e38;max-width:1560px;margin:32px auto;padding:0 24px;background:#f6f7f9}
h1{font-size:24px;margin-bottom:4px} p{color:#737a87;margin-top:0}
table{border-collapse:collapse;background:#fff;margin:16px 0;box-shadow:0 1px 3px #0002} td,th{padding:8px 14px;text-align:right;border-bottom:1px solid #e6e8ec}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(560px,1fr));gap:18px} .figures svg{width:100%;height:auto;background:#fff;box-shadow:0 1px 3px #0002}
details{margin:22px 0} pre{background:#fff;padding:14px 18px;overflow:auto;box-shadow:0 1px 3px #0002;font-size:13px}
</style>)";

std::string page(const std::vector<Run>& runs, const std::vector<Figure>& all) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>isaribi "
      "report</title>\n";
  out += std::string(kStyle) + "</head><body>\n<h1>" +
         escape(runs.size() == 1 ? runs[0].name : "Comparison of runs") + "</h1>\n";
  out += "<p>written by isaribi report; this page needs no other file</p>\n" + table(runs) +
         "<div class=\"figures\">\n";
  for (std::size_t i = 0; i < all.size(); ++i) out += unique_ids(svg_text(all[i].chart), i) + "\n";
  out += "</div>\n";
  for (const Run& run : runs) {
    if (run.deck.empty()) continue;
    out += "<details><summary>deck of " + escape(run.name) + "</summary><pre>" + escape(run.deck) +
           "</pre></details>\n";
  }
  return out + "</body></html>\n";
}

}  // namespace

std::vector<std::string> write_report(const std::vector<std::string>& folders,
                                      const std::string& output) {
  std::vector<Run> runs;
  for (const std::string& folder : folders) runs.push_back(read_run(folder));
  std::error_code error;
  fs::create_directories(output, error);
  if (error)
    throw core::DataError(output, "cannot create the folder: " + error.message(),
                          "choose another with --output");

  const std::vector<Figure> all = figures(runs);
  std::vector<std::string> written;
  for (const Figure& f : all) {
    written.push_back((fs::path(output) / f.file).string());
    write_png(f.chart, written.back());
  }
  written.push_back((fs::path(output) / "metrics.csv").string());
  replace_text(written.back(), csv(runs));
  written.push_back((fs::path(output) / "index.html").string());
  replace_text(written.back(), page(runs, all));
  return written;
}

}  // namespace isaribi::report

// SPDX-License-Identifier: MIT
#include "app/allreduce_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/report/files.hpp"
#include "io/report/heat_map.hpp"

namespace isaribi::app {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr std::size_t kMostRows = 40;  // of a heat map that can be read

}  // namespace

void write_tuning(const comm::Tuning& tuning, const std::string& path) {
  json file = {{"format", kFormat},
               {"topology", tuning.topology},
               {"wire", tuning.wire},
               {"order", tuning.order}};
  for (const comm::TuningEntry& e : tuning.entries) {
    file["entries"].push_back({{"bytes", e.bytes},
                               {"plan", e.plan.text()},
                               {"seconds", e.seconds},
                               {"library_seconds", e.library_seconds}});
  }
  report::replace_text(path, file.dump(1) + "\n");
}

comm::Tuning read_tuning(const std::string& path) {
  const std::string text = report::read_text(path);
  try {
    const json file = json::parse(text);
    if (file.at("format").get<int>() > kFormat)
      throw core::DataError(path, "was written by a newer isaribi", "measure again");
    comm::Tuning tuning{file.at("topology").get<std::string>(),
                        file.at("wire").get<std::string>(),
                        file.at("order").get<std::string>(),
                        {}};
    for (const json& e : file.at("entries")) {
      tuning.entries.push_back(
          {e.at("bytes").get<std::int64_t>(), comm::parse_plan(e.at("plan").get<std::string>()),
           e.at("seconds").get<double>(), e.at("library_seconds").get<double>()});
    }
    if (tuning.entries.empty())
      throw core::DataError(path, "holds no sizes", "write it with isaribi allreduce");
    return tuning;
  } catch (const json::exception& error) {
    throw core::DataError(path, fmt::format("is no tuning file ({})", error.what()),
                          "write it with isaribi allreduce");
  } catch (const core::UsageError& error) {
    throw core::DataError(path, error.cause(), "write it with isaribi allreduce");
  }
}

void write_allreduce_csv(const comm::TunerReport& report, int ranks,
                         const comm::ContainmentReport& containment, const std::string& path) {
  std::string text =
      "bytes,plan,median_seconds,least_seconds,repetitions,predicted_seconds,library_seconds,ranks,"
      "contained\n";
  const auto add = [&](const std::vector<comm::PlanResult>& results, int of) {
    std::map<std::int64_t, double> library;
    for (const comm::PlanResult& r : results) {
      if (r.plan.library()) library[r.bytes] = r.measured.median;
    }
    for (const comm::PlanResult& r : results) {
      const auto row = std::find_if(containment.rows.begin(), containment.rows.end(),
                                    [&](const comm::Containment& c) {
                                      return c.ranks == of && c.bytes == r.bytes && c.cut == r.plan;
                                    });
      const char* contained = row == containment.rows.end() ? "" : row->holds() ? "yes" : "no";
      text += fmt::format("{},{},{:.9g},{:.9g},{},{:.9g},{:.9g},{},{}\n", r.bytes, r.plan.text(),
                          r.measured.median, r.measured.least, r.measured.repetitions, r.predicted,
                          library[r.bytes], of, contained);
    }
  };
  add(report.results, ranks);
  for (const comm::PartReport& part : containment.parts) add(part.results, part.ranks);
  report::replace_text(path, text);
}

void draw_allreduce(const comm::TunerReport& report, const std::string& path) {
  report::HeatMap map{
      .title = "Speed against MPI_Allreduce", .columns = {}, .rows = {}, .values = {}};
  std::map<std::int64_t, double> library;
  for (const comm::PlanResult& r : report.results) {
    if (!r.plan.library()) continue;
    library[r.bytes] = r.measured.median;
    map.columns.push_back(comm::bytes_to_text(r.bytes));
  }
  // A row per hierarchy: of its segment sizes the fastest counts.
  std::map<std::string, std::map<std::int64_t, double>> fastest;
  for (const comm::PlanResult& r : report.results) {
    const std::string name = r.plan.library() ? "mpi" : comm::to_text(r.plan.levels);
    double& best = fastest[name][r.bytes];
    best = std::max(best, library[r.bytes] / r.measured.median);
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [name, by_size] : fastest) {
    double most = 0;
    for (const auto& [bytes, speed] : by_size) most = std::max(most, speed);
    order.emplace_back(-most, name);
  }
  std::sort(order.begin(), order.end());
  if (order.size() > kMostRows) order.resize(kMostRows);
  for (const auto& [most, name] : order) {
    map.rows.push_back(name);
    map.values.emplace_back();
    for (const auto& [bytes, seconds] : library) {
      const auto at = fastest[name].find(bytes);
      map.values.back().push_back(at == fastest[name].end() ? 0 : at->second);
    }
  }
  report::write_png(map, path);
}

}  // namespace isaribi::app

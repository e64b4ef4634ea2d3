// SPDX-License-Identifier: MIT
#include <cmath>
#include <filesystem>

#include "core/error.hpp"
#include "io/report/files.hpp"
#include "io/report/metrics.hpp"

namespace isaribi::report {
namespace {

namespace fs = std::filesystem;

std::string status_path(const std::string& run_dir) {
  return (fs::path(run_dir) / "status.json").string();
}

nlohmann::ordered_json known(double value) {
  if (!std::isfinite(value) || value < 0) return nullptr;
  return value;
}

double number(const nlohmann::json& object, const char* key, double fallback) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : fallback;
}

std::string text(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

void write_status(const std::string& run_dir, const Status& status) {
  nlohmann::ordered_json object;
  object["state"] = status.state;
  object["exit"] = status.exit;
  object["step"] = status.step;
  object["epoch"] = status.epoch;
  object["test_accuracy"] = known(status.test_accuracy);
  object["test_loss"] = known(status.test_loss);
  object["samples_per_s"] = known(status.samples_per_s);
  object["wall_s"] = known(status.wall_s);
  object["attempts"] = status.attempts;
  if (!status.error.empty()) object["error"] = status.error;
  replace_text(status_path(run_dir), object.dump() + "\n");
}

std::optional<Status> read_status(const std::string& run_dir) {
  const std::string path = status_path(run_dir);
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  const auto object = nlohmann::json::parse(read_text(path), nullptr, false);
  if (!object.is_object())
    throw core::DataError(path, "is no JSON object", "delete it: it is written anew by train");
  Status s;
  s.state = text(object, "state");
  s.exit = static_cast<int>(number(object, "exit", 0));
  s.step = static_cast<std::int64_t>(number(object, "step", 0));
  s.epoch = number(object, "epoch", 0);
  s.test_accuracy = number(object, "test_accuracy", -1);
  s.test_loss = number(object, "test_loss", -1);
  s.samples_per_s = number(object, "samples_per_s", 0);
  s.wall_s = number(object, "wall_s", 0);
  s.attempts = static_cast<int>(number(object, "attempts", 1));
  s.error = text(object, "error");
  return s;
}

}  // namespace isaribi::report

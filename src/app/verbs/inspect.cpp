// SPDX-License-Identifier: MIT
// isaribi inspect: what is in one of our files, its digest, or what differs between two.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>

#include "app/job.hpp"
#include "app/verbs/verbs.hpp"
#include "io/checkpoint/checkpoint.hpp"
#include "io/checkpoint/format.hpp"
#include "io/data/dataset.hpp"
#include "io/hdf5/file.hpp"
#include "io/report/metrics.hpp"

namespace isaribi::app {
namespace fs = std::filesystem;
namespace {

struct InspectOptions {
  std::string first, second;
  bool digest = false, all = false;
};

enum class Kind { dataset, checkpoint };

/// A run folder stands for its newest checkpoint, the pointer `latest` for the file it names.
std::string file_of(Session& session, const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return read_notes(session, path).path;
  if (fs::path(path).filename() != "latest") return path;
  std::ifstream pointer(path);
  std::string name;
  return std::getline(pointer, name) ? (fs::path(path).parent_path() / name).string() : path;
}

Kind kind_of(const std::string& path) {
  const hdf5::File file = hdf5::File::open(path);
  const std::string schema =
      file.has_attribute("schema") ? file.attribute_as<std::string>("schema") : "";
  if (schema == data::kDatasetSchema) return Kind::dataset;
  if (schema == "isaribi-checkpoint") return Kind::checkpoint;
  throw core::DataError(path, "is HDF5, but not a file of isaribi",
                        "data sets are made by isaribi convert, checkpoints by isaribi train");
}

std::string value_text(const checkpoint::Value& value) {
  return std::visit([](const auto& x) { return fmt::format("{}", x); }, value);
}

/// Smallest, largest and root-mean-square value, or nothing for other types.
std::string range_text(const core::Tensor& t) {
  const auto scan = [&](const auto* x) {
    double low = INFINITY, high = -INFINITY, squares = 0;
    for (std::int64_t i = 0; i < t.count(); ++i) {
      const double v = static_cast<double>(x[i]);
      low = std::fmin(low, v);
      high = std::fmax(high, v);
      squares += v * v;
    }
    const double n = static_cast<double>(std::max<std::int64_t>(1, t.count()));
    return t.count() == 0 ? std::string("empty")
                          : fmt::format("min {:.4g}, max {:.4g}, rms {:.4g}", low, high,
                                        std::sqrt(squares / n));
  };
  if (t.dtype() == core::DType::f32) return scan(t.data<float>());
  if (t.dtype() == core::DType::f64) return scan(t.data<double>());
  return "";
}

void show_dataset(const std::string& path, core::Log& log) {
  const data::DatasetInfo info = data::read_info(path);
  log.info("{}: data set", path);
  log.info("  samples   {} of {} {}", info.samples, core::name_of(info.type), info.sample.text());
  log.info("  classes   {}", info.classes);
  if (!info.class_names.empty()) log.info("  names     {}", fmt::join(info.class_names, ", "));
  log.info("  mean      {:.6g}", fmt::join(info.mean, ", "));
  log.info("  std       {:.6g}", fmt::join(info.std, ", "));
  log.info("  digest    {}", info.digest);
}

void show_checkpoint(const std::string& path, bool tensors, core::Log& log) {
  const checkpoint::State state = checkpoint::read_file(path);
  std::int64_t scalars = 0;
  for (const core::NamedTensor& t : state.tensors) scalars += t.tensor.count();
  log.info("{}: checkpoint, verified: {} tensors, {} values", path, state.tensors.size(), scalars);
  for (const auto& [name, value] : state.values) log.info("  {:<28} {}", name, value_text(value));
  for (const auto& [name, value] : state.notes) {
    if (name != "deck") log.info("  {:<28} {} (note)", name, value_text(value));
  }
  if (!tensors) log.info("  --all lists the tensors and the deck");
  if (!tensors) return;
  for (const core::NamedTensor& t : state.tensors)
    log.info("  {:<44} {} {:<18} {}", t.name, core::name_of(t.tensor.dtype()),
             t.tensor.shape().text(), range_text(t.tensor));
  const auto deck = state.notes.find("deck");
  if (deck != state.notes.end()) log.info("\n{}", value_text(deck->second));
}

void show_run(const std::string& dir, core::Log& log) {
  const auto status = report::read_status(dir);
  if (!status) return;
  log.info("{}: run, {} at step {} (epoch {:.2f}), exit {}, attempt {}", dir, status->state,
           status->step, status->epoch, status->exit, status->attempts);
  if (status->test_accuracy >= 0)
    log.info("  test accuracy {:.2f} %, test loss {:.5f}, {:.0f} samples/s",
             100 * status->test_accuracy, status->test_loss, status->samples_per_s);
}

std::string digest_of(const std::string& path, bool all) {
  if (kind_of(path) == Kind::checkpoint)
    return checkpoint::digest(checkpoint::read_file(path), all);
  return data::computed_digest(data::DatasetFile::open(path));
}

core::ExitCode compare(const std::string& a, const std::string& b, core::Log& log) {
  if (kind_of(a) != kind_of(b))
    throw core::UsageError(a + " and " + b + " are files of different kinds",
                           "compare two checkpoints or two data sets");
  std::vector<std::string> lines;
  if (kind_of(a) == Kind::checkpoint) {
    lines = checkpoint::differences(checkpoint::read_file(a), checkpoint::read_file(b));
  } else {
    const data::DatasetInfo x = data::read_info(a), y = data::read_info(b);
    const auto note = [&](const char* what, const std::string& p, const std::string& q) {
      if (p != q) lines.push_back(fmt::format("{}: {} | {}", what, p, q));
    };
    note("samples", std::to_string(x.samples), std::to_string(y.samples));
    note("shape", x.sample.text(), y.sample.text());
    note("classes", std::to_string(x.classes), std::to_string(y.classes));
    note("class names", fmt::format("{}", fmt::join(x.class_names, ", ")),
         fmt::format("{}", fmt::join(y.class_names, ", ")));
    note("digest", digest_of(a, true), digest_of(b, true));
  }
  for (const std::string& line : lines) log.info("{}", line);
  log.info("{}", lines.empty() ? "no difference" : fmt::format("{} difference(s)", lines.size()));
  return core::ExitCode::ok;
}

core::ExitCode inspect_verb(const InspectOptions& options, Session& session) {
  core::Log& log = session.log;
  const std::string path = file_of(session, options.first);
  if (!options.second.empty()) return compare(path, file_of(session, options.second), log);
  if (options.digest) {
    log.info("{}  {}", digest_of(path, options.all), path);
    return core::ExitCode::ok;
  }
  if (path != options.first) show_run(options.first, log);
  if (kind_of(path) == Kind::dataset) {
    show_dataset(path, log);
  } else {
    show_checkpoint(path, options.all, log);
  }
  return core::ExitCode::ok;
}

}  // namespace

void add_inspect(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* verb =
      add_verb(app, "inspect", "Shows a data set, a checkpoint or a run; its digest; what differs",
               "isaribi inspect data/mnist/train.h5\n"
               "isaribi inspect runs/mnist_lenet_sgd --digest\n"
               "isaribi inspect one/checkpoints/step-000000000938.h5 "
               "other/checkpoints/step-000000000938.h5");
  verb->add_option("file", options->first, "Data set, checkpoint or run folder")->required();
  verb->add_option("other", options->second, "A second one: says what differs");
  verb->add_flag(
      "--digest", options->digest,
      "One SHA-256 over names, shapes and values of the weights (of a data set: of images "
      "and labels): equal for equal content, whatever the ranks that wrote it");
  verb->add_flag("--all", options->all,
                 "With --digest: of the whole state; else: every tensor and the deck");
  verb->callback([&chosen, options] {
    chosen = {.verb = "inspect",
              .run = [options](Session& session) { return inspect_verb(*options, session); }};
  });
}

}  // namespace isaribi::app

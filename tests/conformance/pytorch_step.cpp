// SPDX-License-Identifier: MIT
// The C++ half of pytorch_step.py: takes the two steps that PyTorch took from the same weights, in
// f64 and in f32, and compares losses, gradients, weights and running statistics.
//   pytorch_step MODEL FOLDER BATCH LR MOMENTUM DECAY
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "backends/api/registry.hpp"
#include "backends/reference/register.hpp"
#include "comm/serial_communicator.hpp"
#include "core/error.hpp"
#include "nn/graph.hpp"
#include "optim/optimizer.hpp"

using namespace isaribi;

namespace {

constexpr std::int64_t kClasses = 10;

std::vector<double> read(const std::string& folder, const std::string& key) {
  std::ifstream file(folder + "/" + key + ".f64", std::ios::binary | std::ios::ate);
  if (!file) throw core::DataError(key, "cannot be read");
  std::vector<double> values(static_cast<std::size_t>(file.tellg()) / sizeof(double));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(double)));
  return values;
}

double at(const core::Tensor& t, std::int64_t i) {
  return t.dtype() == core::DType::f64 ? t.data<double>()[i]
                                       : static_cast<double>(t.data<float>()[i]);
}

void append(std::vector<double>& list, const core::Tensor& t) {
  for (std::int64_t i = 0; i < t.count(); ++i) list.push_back(at(t, i));
}

core::Tensor tensor(const core::Shape& shape, core::DType type, const double* values) {
  core::Tensor t(shape, type);
  for (std::int64_t i = 0; i < t.count(); ++i) {
    if (type == core::DType::f64) {
      t.data<double>()[i] = values[i];
    } else {
      t.data<float>()[i] = static_cast<float>(values[i]);
    }
  }
  return t;
}

struct Settings {
  std::string model, folder;
  std::int64_t batch;
  optim::OptimizerSettings optimizer;
};

/// Largest |a - b| over the norm of b per element; counts as one line of the report.
class Comparison {
 public:
  explicit Comparison(double bound) : bound_(bound) {}
  void operator()(const std::string& what, const std::vector<double>& ours,
                  const std::vector<double>& torch) {
    double difference = 0, norm = 0;
    fine_ = fine_ && ours.size() == torch.size();
    for (std::size_t i = 0; i < std::min(ours.size(), torch.size()); ++i) {
      difference += (ours[i] - torch[i]) * (ours[i] - torch[i]);
      norm += torch[i] * torch[i];
    }
    const double relative = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
    const bool close = relative <= bound_;  // false for NaN
    fine_ = fine_ && close;
    fmt::print("  {:<12} {:>7} values  relative difference {:.2e}{}\n", what, ours.size(), relative,
               close ? "" : "  TOO LARGE");
  }
  bool fine() const { return fine_; }

 private:
  double bound_;
  bool fine_ = true;
};

bool compare(const Settings& s, core::DType type, double bound) {
  core::Log log(1);
  api::Registry registry;
  reference::register_backend(registry);
  const auto backend = registry.create("reference", {}, log);
  const auto comm = comm::make_serial_communicator();
  nn::ModelSpec spec;
  spec.preset = s.model;
  spec.outputs = kClasses;
  nn::Graph graph(spec, {28, 28, 1}, *backend, {.max_batch = s.batch, .type = type});
  const auto optimizer =
      optim::make_optimizer(s.optimizer, {}, {.parameters = graph.parameters()}, *backend, *comm);

  const std::vector<double> start = read(s.folder, "start");
  std::int64_t offset = 0;
  for (nn::Parameter* p : graph.parameters()) {
    backend->copy(tensor(p->shape, type, start.data() + offset), p->value);
    offset += p->shape.count();
  }
  if (offset != static_cast<std::int64_t>(start.size()))
    throw core::InternalError("parameter counts differ");

  Comparison check(bound);
  nn::Pass pass;
  pass.global_batch = s.batch;
  core::Tensor first;
  for (int step = 0; step < 2; ++step) {
    const std::string number = std::to_string(step);
    const core::Tensor x = tensor({s.batch, 28, 28, 1}, type, read(s.folder, "x" + number).data());
    if (step == 0) first = x;
    const std::vector<double> classes = read(s.folder, "labels" + number);
    core::Tensor labels({s.batch}, core::DType::i32), targets({s.batch, kClasses}, type);
    core::Tensor loss({s.batch}, core::DType::f64), dz({s.batch, kClasses}, type);
    for (std::size_t i = 0; i < classes.size(); ++i)
      labels.data<std::int32_t>()[i] = static_cast<std::int32_t>(classes[i]);
    const core::Tensor& z = graph.forward(pass, x);
    backend->loss().one_hot({.labels = labels, .targets = targets});
    backend->loss().softmax_cross_entropy({.z = z,
                                           .targets = targets,
                                           .loss = loss,
                                           .dz = dz,
                                           .scale = 1.0 / static_cast<double>(s.batch)});
    graph.backward(pass, dz, false, nullptr);

    double mean = 0;
    for (std::int64_t i = 0; i < s.batch; ++i)
      mean += loss.data<double>()[i] / static_cast<double>(s.batch);
    check("loss " + number, {mean}, read(s.folder, "loss" + number));
    std::vector<double> gradient;
    for (const nn::Parameter* p : graph.parameters()) append(gradient, p->gradient);
    check("gradient " + number, gradient, read(s.folder, "gradient" + number));
    optimizer->step(s.optimizer.lr, step + 1);
  }
  std::vector<double> weights, statistics, evaluated;
  for (const nn::Parameter* p : graph.parameters()) append(weights, p->value);
  check("weights", weights, read(s.folder, "end"));
  for (const core::NamedTensor& t : graph.state()) append(statistics, t.tensor);
  check("statistics", statistics, read(s.folder, "statistics"));
  pass.training = false;
  append(evaluated, graph.forward(pass, first));
  check("evaluation", evaluated, read(s.folder, "evaluated"));
  return check.fine();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    fmt::print(stderr, "usage: pytorch_step MODEL FOLDER BATCH LR MOMENTUM DECAY\n");
    return 2;
  }
  Settings s{.model = argv[1], .folder = argv[2], .batch = std::stoll(argv[3]), .optimizer = {}};
  s.optimizer.lr = std::stod(argv[4]);
  s.optimizer.momentum = std::stod(argv[5]);
  s.optimizer.weight_decay = std::stod(argv[6]);
  s.optimizer.decay_bias_and_norm = true;  // as torch.optim.SGD has it
  try {
    fmt::print("{} f64\n", s.model);
    const bool f64 = compare(s, core::DType::f64, 1e-10);
    fmt::print("{} f32\n", s.model);
    const bool f32 = compare(s, core::DType::f32, 2e-4);
    return f64 && f32 ? 0 : 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return 1;
  }
}

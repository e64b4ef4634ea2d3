// SPDX-License-Identifier: MIT
#include "train/progress.hpp"

#include "core/error.hpp"

namespace isaribi::train {
namespace {

// One list of the fields for both directions.
template <typename P, typename F>
void each_field(P& p, F&& visit) {
  visit("progress/step", p.step);
  visit("progress/epoch", p.epoch);
  visit("progress/batch", p.batch);
  visit("progress/order", p.order);
  visit("progress/interval_loss", p.interval_loss);
  visit("progress/interval_correct", p.interval_correct);
  visit("progress/interval_samples", p.interval_samples);
  visit("progress/evaluated_step", p.evaluated_step);
  visit("progress/test_loss", p.test_loss);
  visit("progress/test_accuracy", p.test_accuracy);
}

}  // namespace

void Progress::capture(std::map<std::string, checkpoint::Value>& values) const {
  each_field(*this, [&](const char* name, const auto& field) { values[name] = field; });
}

void Progress::restore(const std::map<std::string, checkpoint::Value>& values,
                       const std::string& file) {
  each_field(*this, [&](const char* name, auto& field) {
    using T = std::remove_reference_t<decltype(field)>;
    const auto it = values.find(name);
    if (it == values.end() || !std::holds_alternative<T>(it->second)) {
      throw core::DataError(file, std::string("value ") + name + " is missing",
                            "the file is not a training checkpoint");
    }
    field = std::get<T>(it->second);
  });
}

}  // namespace isaribi::train

// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::optim {
namespace {

void require(bool fine, const char* key, double value, const char* range) {
  if (fine) return;
  throw core::UsageError(fmt::format("schedule/{} = {} is out of range", key, value),
                         fmt::format("use {}", range));
}

}  // namespace

Schedule::Schedule(const ScheduleSettings& settings, double peak, double total_epochs)
    : settings_(settings), peak_(peak), total_epochs_(total_epochs) {
  ScheduleSettings& s = settings_;
  const bool windowed = s.kind == "cosine" || s.kind == "polynomial";
  if (s.kind != "constant" && s.kind != "step" && !windowed) {
    throw core::UsageError("schedule/kind = \"" + s.kind + "\" is not known",
                           "use constant, step, cosine or polynomial");
  }
  require(s.warmup_epochs >= 0, "warmup_epochs", s.warmup_epochs, "a number of at least 0");
  require(s.warmup_start >= 0 && s.warmup_start <= 1, "warmup_start", s.warmup_start,
          "a fraction from 0 to 1");
  require(s.gamma > 0, "gamma", s.gamma, "a number above 0");
  require(s.final_fraction >= 0 && s.final_fraction <= 1, "final_fraction", s.final_fraction,
          "a fraction from 0 to 1");
  require(s.power > 0, "power", s.power, "a number above 0");
  require(s.start_epoch >= 0, "start_epoch", s.start_epoch, "a number of at least 0");
  require(s.end_epoch >= 0, "end_epoch", s.end_epoch,
          "0 (the end of training) or a number above start_epoch");
  require(std::is_sorted(s.milestones.begin(), s.milestones.end()), "milestones",
          s.milestones.empty() ? 0 : s.milestones.front(), "ascending epochs");
  if (s.start_epoch == 0) s.start_epoch = s.warmup_epochs;
  const bool given = s.end_epoch > 0;
  if (!given) s.end_epoch = total_epochs_;
  // A run that ends inside its warm-up has no window, and needs none.
  require(!windowed || !given || s.end_epoch > s.start_epoch, "end_epoch", s.end_epoch,
          "an epoch after the warm-up and start_epoch");
}

double Schedule::lr(double epoch) const {
  const ScheduleSettings& s = settings_;
  double factor = 1.0;
  if (epoch < s.warmup_epochs)
    factor = s.warmup_start + (1.0 - s.warmup_start) * epoch / s.warmup_epochs;
  if (s.kind == "constant") return peak_ * factor;
  if (s.kind == "step") {
    const auto passed =
        std::upper_bound(s.milestones.begin(), s.milestones.end(), epoch) - s.milestones.begin();
    return peak_ * factor * std::pow(s.gamma, static_cast<double>(passed));
  }
  double left = 1.0;  // share of the decay window that is still ahead
  if (epoch > s.start_epoch) {
    left = s.end_epoch > s.start_epoch
               ? std::max(0.0, 1.0 - (epoch - s.start_epoch) / (s.end_epoch - s.start_epoch))
               : 0.0;
  }
  const double shape = s.kind == "cosine" ? 0.5 * (1.0 - std::cos(std::numbers::pi * left))
                                          : std::pow(left, s.power);
  return peak_ * factor * (s.final_fraction + (1.0 - s.final_fraction) * shape);
}

}  // namespace isaribi::optim

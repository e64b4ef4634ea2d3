// SPDX-License-Identifier: MIT
#include "backends/selftest/judge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>

namespace isaribi::selftest {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Collects the worst error and the first failure.
class Judge {
 public:
  void error(double error_over_bound, const std::string& text) {
    verdict_.error_over_bound = std::max(verdict_.error_over_bound, error_over_bound);
    if (!(error_over_bound <= 1.0) && verdict_.failure.empty()) verdict_.failure = text;
  }
  void wrong(const std::string& text) { error(kInfinity, text); }
  const Verdict& verdict() const { return verdict_; }

 private:
  Verdict verdict_;
};

/// |got - want| as a multiple of the bound (see Bound).
double error_over_bound(double got, double want, double scale, const Bound& bound,
                        core::DType out) {
  if (got == want || (std::isnan(got) && std::isnan(want))) return 0.0;
  if (!std::isfinite(got) || !std::isfinite(want) || bound.kind == Bound::Scale::exact)
    return kInfinity;
  // What lies below the smallest normal number may be flushed to zero.
  const double tiny = out == core::DType::f64
                          ? std::numeric_limits<double>::min()
                          : static_cast<double>(std::numeric_limits<float>::min());
  const double allowed = epsilon_of(bound.eps) * (4.0 + 2.0 * std::sqrt(bound.terms)) * scale +
                         epsilon_of(out) * std::fabs(want) + tiny;
  return std::fabs(got - want) / allowed;
}

double scale_of(const Bound& bound, std::size_t i, double want,
                const std::vector<double>& absolute) {
  switch (bound.kind) {
    case Bound::Scale::absolute:
      return absolute[i];
    case Bound::Scale::given:
      return bound.scale[i];
    default:
      return std::fabs(want);
  }
}

void compare(Judge& judge, const std::string& name, const std::vector<double>& got,
             const std::vector<double>& want, const std::vector<double>& absolute,
             const Bound& bound, core::DType out) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error =
        error_over_bound(got[i], want[i], scale_of(bound, i, want[i], absolute), bound, out);
    if (error > 0.0) {
      judge.error(error, error <= 1.0
                             ? std::string()
                             : fmt::format("{}[{}] is {:.9g}, oracle {:.9g}: {:.2g} x the bound",
                                           name, i, got[i], want[i], error));
    }
  }
}

/// Guards are untouched, and so is what the operation may only read.
void check_memory(Judge& judge, Trial& trial) {
  for (const Trial::Operand& o : trial.operands()) {
    const std::vector<std::byte> now = trial.bytes_now(o);
    const std::size_t size = core::size_of(o.view.dtype());
    const std::size_t begin = static_cast<std::size_t>(o.offset) * size;
    const std::size_t end = begin + o.view.bytes();
    const bool guards = std::equal(now.begin(), now.begin() + static_cast<std::ptrdiff_t>(begin),
                                   o.before.begin()) &&
                        std::equal(now.begin() + static_cast<std::ptrdiff_t>(end), now.end(),
                                   o.before.begin() + static_cast<std::ptrdiff_t>(end));
    if (!guards) judge.wrong("memory before or behind operand " + o.name + " was written to");
    if (!o.written && guards && now != o.before) judge.wrong("input " + o.name + " was written to");
  }
}

/// Runs the body, or says why it could not.
bool play(const Case& c, Trial& trial, Judge& judge, const char* who) {
  try {
    c.body(trial);
    trial.backend().synchronize();
    return true;
  } catch (const std::exception& error) {
    judge.wrong(fmt::format("{}: {}", who, error.what()));
    return false;
  }
}

bool needs_absolute(const Trial& trial) {
  const auto absolute = [](const auto& x) { return x.bound.kind == Bound::Scale::absolute; };
  return std::any_of(trial.operands().begin(), trial.operands().end(), absolute) ||
         std::any_of(trial.numbers().begin(), trial.numbers().end(), absolute);
}

void compare_trials(Judge& judge, Trial& got, Trial& want, Trial* absolute) {
  for (std::size_t k = 0; k < got.operands().size(); ++k) {
    const Trial::Operand& o = got.operands()[k];
    if (!o.written) continue;
    const Trial::Operand& w = want.operands()[k];
    std::vector<double> scale;
    if (o.bound.kind == Bound::Scale::absolute)
      scale = absolute->read(absolute->operands()[k].view);
    compare(judge, o.name, got.read(o.view), want.read(w.view), scale, w.bound, o.view.dtype());
  }
  for (std::size_t k = 0; k < got.numbers().size(); ++k) {
    const Trial::Number& n = got.numbers()[k];
    std::vector<double> scale;
    if (n.bound.kind == Bound::Scale::absolute) scale = {absolute->numbers()[k].value};
    compare(judge, n.name, {n.value}, {want.numbers()[k].value}, scale, n.bound, core::DType::f64);
  }
}

}  // namespace

Verdict judge(const Case& c, api::Backend& under_test, api::Backend& oracle) {
  Judge judge;
  Trial got(under_test, Trial::Mode::plain);
  if (!play(c, got, judge, "the backend")) return judge.verdict();
  check_memory(judge, got);
  for (const Trial::Measure& m : got.measures()) {
    const double ratio = m.error == 0.0 ? 0.0 : m.error / m.bound;
    judge.error(std::isnan(ratio) ? kInfinity : ratio,
                fmt::format("{} is {:.3g}, bound {:.3g}", m.name, m.error, m.bound));
  }
  if (!c.compare) return judge.verdict();

  Trial want(oracle, Trial::Mode::plain), absolute(oracle, Trial::Mode::absolute);
  if (!play(c, want, judge, "the oracle")) return judge.verdict();
  if (needs_absolute(got) && !play(c, absolute, judge, "the oracle on absolute values"))
    return judge.verdict();
  compare_trials(judge, got, want, &absolute);
  return judge.verdict();
}

}  // namespace isaribi::selftest

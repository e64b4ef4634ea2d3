// SPDX-License-Identifier: MIT
// One run of one case on one backend: makes the operands, hands them to the operation, and keeps
// what came out. A case is a function of a Trial; it is run on the backend under test and on the
// oracle with the same operands, and once more on the oracle with absolute values, which turns
// every sum of products into the sum of its absolute terms: the scale of its rounding error.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "backends/api/backend.hpp"

namespace isaribi::selftest {

/// How far an element of an output may be from the oracle's:
///   eps (4 + 2 sqrt(terms)) scale + eps_out |want|.
/// A sum of n rounded terms is wrong by about sqrt(n) eps sum |terms| with probability close to one
/// (Higham & Mary 2019, "A new approach to probabilistic rounding error analysis"); 4 covers the
/// roundings that do not grow with n.
struct Bound {
  enum class Scale {
    exact,     ///< equal values, NaN where the oracle has NaN
    absolute,  ///< the same element of the run with absolute values
    relative,  ///< |want|
    given      ///< `scale`
  };
  Scale kind = Scale::exact;
  core::DType eps = core::DType::f64;  ///< precision of the arithmetic
  double terms = 0;                    ///< length of the sums
  std::vector<double> scale;           ///< one per element, for Scale::given

  static Bound exact() { return {}; }
  static Bound absolute(core::DType eps, std::int64_t terms) {
    return {Scale::absolute, eps, static_cast<double>(terms), {}};
  }
  static Bound relative(core::DType eps, double terms = 0) {
    return {Scale::relative, eps, terms, {}};
  }
  static Bound given(core::DType eps, std::int64_t terms, std::vector<double> scale) {
    return {Scale::given, eps, static_cast<double>(terms), std::move(scale)};
  }
};

/// Unit roundoff times two: 2^-23, 2^-52, ...; 0 for integers.
double epsilon_of(core::DType type);

/// Where the elements of an operand come from.
struct Values {
  /// Value of element i; `draw` is uniform in [0, 1) and depends on operand and element only.
  std::function<double(std::int64_t i, double draw)> at;
  /// In the run with absolute values: -|v| instead of |v|, for operands that are subtracted.
  bool subtracted = false;

  Values();  ///< uniform in [-1, 1)
  explicit Values(std::function<double(std::int64_t, double)> at_) : at(std::move(at_)) {}
  static Values uniform(double low, double high);
  static Values list(std::vector<double> values);
  static Values constant(double value);
  Values minus() const;  ///< with `subtracted`
};

class Trial {
 public:
  enum class Mode { plain, absolute };
  Trial(api::Backend& backend, Mode mode) : backend_(backend), mode_(mode) {}

  api::Backend& backend() { return backend_; }

  /// Operands in the backend's memory. Each stands between guard bytes, and every third one is
  /// aligned to its element only, as rows of a batch are.
  /// An input must be unchanged after the run.
  core::Tensor in(const std::string& name, core::Shape shape, core::DType type,
                  const Values& values = {});
  /// An output starts as NaN (floats) or -1.
  core::Tensor out(const std::string& name, core::Shape shape, core::DType type, Bound bound);
  core::Tensor inout(const std::string& name, core::Shape shape, core::DType type,
                     const Values& values, Bound bound);
  /// Replaces the scale of an output's bound (Bound::given), for scales that need other operands.
  void rescale(const core::Tensor& tensor, std::vector<double> scale);
  /// A scalar argument: |value|, or -|value| when it is subtracted, in the absolute run.
  double scalar(double value) const;
  double subtracted_scalar(double value) const;

  /// A returned value, compared like an output.
  void result(const std::string& name, double value, Bound bound);
  /// A property of the outputs that is judged by itself: fails when error > bound.
  void measure(const std::string& name, double error, double bound);

  /// Values of an operand before the operation, and now.
  std::vector<double> initial(const core::Tensor& tensor) const;
  std::vector<double> read(const core::Tensor& tensor);
  /// Overwrites an operand; for finite differences.
  void write(const core::Tensor& tensor, const std::vector<double>& values);

  struct Operand {
    std::string name;
    core::Tensor whole;             ///< with its guards, in the backend's memory
    core::Tensor view;              ///< what the operation sees
    std::int64_t offset = 0;        ///< of view in whole, in elements
    std::vector<std::byte> before;  ///< bytes of `whole` before the run
    bool written = false;           ///< output: compare under `bound`
    Bound bound;
  };
  struct Number {
    std::string name;
    double value;
    Bound bound;
  };
  struct Measure {
    std::string name;
    double error, bound;
  };
  const std::vector<Operand>& operands() const { return operands_; }
  const std::vector<Number>& numbers() const { return numbers_; }
  const std::vector<Measure>& measures() const { return measures_; }
  /// Bytes of operand.whole now.
  std::vector<std::byte> bytes_now(const Operand& operand);

 private:
  core::Tensor place(const std::string& name, core::Shape shape, core::DType type,
                     const Values* values, bool written, Bound bound);
  std::size_t find(const core::Tensor& tensor) const;

  api::Backend& backend_;
  Mode mode_;
  std::vector<Operand> operands_;
  std::vector<Number> numbers_;
  std::vector<Measure> measures_;
};

/// `count` elements of `type` at `data` as doubles (exact), and back (rounded to nearest).
std::vector<double> to_doubles(const void* data, core::DType type, std::int64_t count);
void from_doubles(const std::vector<double>& values, core::DType type, void* data);

}  // namespace isaribi::selftest

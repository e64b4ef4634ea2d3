// SPDX-License-Identifier: MIT
#include "backends/selftest/trial.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/error.hpp"
#include "core/rng.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace isaribi::selftest {
namespace {

constexpr std::int64_t kGuardBytes = 64;  // keeps the alignment of the memory resource
constexpr auto kGuard = std::byte{0xA5};
constexpr auto kUnwritten = std::byte{0xFF};  // NaN in every float type, -1 in signed integers

/// With the address sanitizer, what reads or writes the guards of a host's operand stops the suite.
void watch([[maybe_unused]] const core::Tensor& whole, [[maybe_unused]] const core::Tensor& view,
           [[maybe_unused]] bool guarded) {
#ifdef __SANITIZE_ADDRESS__
  if (whole.device().kind != core::Device::Kind::host) return;
  auto *begin = static_cast<std::byte*>(whole.raw()), *first = static_cast<std::byte*>(view.raw());
  if (guarded) {
    ASAN_POISON_MEMORY_REGION(begin, whole.bytes());
    ASAN_UNPOISON_MEMORY_REGION(first, view.bytes());
  } else {
    ASAN_UNPOISON_MEMORY_REGION(begin, whole.bytes());
  }
#endif
}

template <typename T>
void store(double value, void* data, std::int64_t i) {
  if constexpr (std::is_integral_v<T>) {
    using Limits = std::numeric_limits<T>;
    const double clamped = std::clamp(std::nearbyint(value), static_cast<double>(Limits::min()),
                                      static_cast<double>(Limits::max()));
    static_cast<T*>(data)[i] = std::isnan(value) ? T(0) : static_cast<T>(clamped);
  } else if constexpr (std::is_floating_point_v<T>) {
    static_cast<T*>(data)[i] = static_cast<T>(value);
  } else {
    static_cast<T*>(data)[i] = T(static_cast<float>(value));
  }
}

template <typename T>
double load(const void* data, std::int64_t i) {
  const T value = static_cast<const T*>(data)[i];
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<double>(value);
  } else {
    return static_cast<double>(static_cast<float>(value));
  }
}

template <typename Body>
void with_type(core::DType type, const Body& body) {
  switch (type) {
    case core::DType::f64:
      return body(double{});
    case core::DType::f32:
      return body(float{});
    case core::DType::f16:
      return body(core::Half{});
    case core::DType::bf16:
      return body(core::BFloat16{});
    case core::DType::i8:
      return body(std::int8_t{});
    case core::DType::u8:
      return body(std::uint8_t{});
    case core::DType::i32:
      return body(std::int32_t{});
  }
}

/// Uniform in [0, 1) with 53 bits: 24 would make products of doubles exact and hide float
/// arithmetic in an f64 kernel.
double draw53(std::uint64_t operand, std::int64_t i) {
  const core::Philox key(2018, core::Purpose::test, operand);
  const core::Words4 words = key.block(0, static_cast<std::uint64_t>(i));
  return (words.w[0] >> 5) * 0x1p-27 + (words.w[1] >> 6) * 0x1p-53;
}

}  // namespace

double epsilon_of(core::DType type) {
  switch (type) {
    case core::DType::f64:
      return 0x1p-52;
    case core::DType::f32:
      return 0x1p-23;
    case core::DType::f16:
      return 0x1p-10;
    case core::DType::bf16:
      return 0x1p-7;
    default:
      return 0.0;
  }
}

std::vector<double> to_doubles(const void* data, core::DType type, std::int64_t count) {
  std::vector<double> out(static_cast<std::size_t>(count));
  with_type(type, [&](auto t) {
    for (std::int64_t i = 0; i < count; ++i)
      out[static_cast<std::size_t>(i)] = load<decltype(t)>(data, i);
  });
  return out;
}

void from_doubles(const std::vector<double>& values, core::DType type, void* data) {
  with_type(type, [&](auto t) {
    for (std::size_t i = 0; i < values.size(); ++i)
      store<decltype(t)>(values[i], data, static_cast<std::int64_t>(i));
  });
}

Values::Values() : Values(uniform(-1.0, 1.0)) {}

Values Values::uniform(double low, double high) {
  return Values([=](std::int64_t, double draw) { return low + (high - low) * draw; });
}

Values Values::list(std::vector<double> values) {
  return Values([values = std::move(values)](std::int64_t i, double) {
    return values[static_cast<std::size_t>(i) % values.size()];
  });
}

Values Values::constant(double value) {
  return Values([=](std::int64_t, double) { return value; });
}

Values Values::minus() const {
  Values copy = *this;
  copy.subtracted = true;
  return copy;
}

core::Tensor Trial::in(const std::string& name, core::Shape shape, core::DType type,
                       const Values& values) {
  return place(name, shape, type, &values, false, {});
}

core::Tensor Trial::out(const std::string& name, core::Shape shape, core::DType type, Bound bound) {
  return place(name, shape, type, nullptr, true, std::move(bound));
}

core::Tensor Trial::inout(const std::string& name, core::Shape shape, core::DType type,
                          const Values& values, Bound bound) {
  return place(name, shape, type, &values, true, std::move(bound));
}

core::Tensor Trial::place(const std::string& name, core::Shape shape, core::DType type,
                          const Values* values, bool written, Bound bound) {
  const auto size = static_cast<std::int64_t>(core::size_of(type));
  const std::int64_t guard = kGuardBytes / size;
  const auto number = static_cast<std::int64_t>(operands_.size());
  Operand o;
  o.name = name;
  o.offset = guard + (number % 3 == 1 ? 1 : 0);
  o.whole = backend_.make({o.offset + shape.count() + guard}, type);
  o.view = o.whole.slice(o.offset, shape);
  o.written = written;
  o.bound = std::move(bound);
  o.before.assign(o.whole.bytes(), kGuard);
  std::byte* data = o.before.data() + o.offset * size;
  std::fill_n(data, shape.count() * size, kUnwritten);
  if (values != nullptr) {
    std::vector<double> drawn(static_cast<std::size_t>(shape.count()));
    for (std::int64_t i = 0; i < shape.count(); ++i) {
      double v = values->at(i, draw53(static_cast<std::uint64_t>(number), i));
      if (mode_ == Mode::absolute) v = values->subtracted ? -std::fabs(v) : std::fabs(v);
      drawn[static_cast<std::size_t>(i)] = v;
    }
    from_doubles(drawn, type, data);
  }
  backend_.copy(core::Tensor::borrow(o.before.data(), o.whole.shape(), type), o.whole);
  backend_.synchronize();
  watch(o.whole, o.view, true);
  operands_.push_back(std::move(o));
  return operands_.back().view;
}

void Trial::rescale(const core::Tensor& tensor, std::vector<double> scale) {
  operands_[find(tensor)].bound.scale = std::move(scale);
}

double Trial::scalar(double value) const {
  return mode_ == Mode::absolute ? std::fabs(value) : value;
}

double Trial::subtracted_scalar(double value) const {
  return mode_ == Mode::absolute ? -std::fabs(value) : value;
}

void Trial::result(const std::string& name, double value, Bound bound) {
  numbers_.push_back({name, value, std::move(bound)});
}

void Trial::measure(const std::string& name, double error, double bound) {
  measures_.push_back({name, error, bound});
}

std::size_t Trial::find(const core::Tensor& tensor) const {
  for (std::size_t k = 0; k < operands_.size(); ++k) {
    if (operands_[k].view.raw() == tensor.raw()) return k;
  }
  throw core::InternalError("a selftest case asks for a tensor that is not an operand");
}

std::vector<double> Trial::initial(const core::Tensor& tensor) const {
  const Operand& o = operands_[find(tensor)];
  const auto size = static_cast<std::int64_t>(core::size_of(tensor.dtype()));
  return to_doubles(o.before.data() + o.offset * size, tensor.dtype(), tensor.count());
}

std::vector<double> Trial::read(const core::Tensor& tensor) {
  const core::Tensor host(tensor.shape(), tensor.dtype());
  backend_.copy(tensor, host);
  backend_.synchronize();
  return to_doubles(host.raw(), host.dtype(), host.count());
}

void Trial::write(const core::Tensor& tensor, const std::vector<double>& values) {
  const core::Tensor host(tensor.shape(), tensor.dtype());
  from_doubles(values, host.dtype(), host.raw());
  backend_.copy(host, tensor);
  backend_.synchronize();
}

std::vector<std::byte> Trial::bytes_now(const Operand& operand) {
  std::vector<std::byte> bytes(operand.whole.bytes());
  watch(operand.whole, operand.view, false);
  backend_.copy(operand.whole,
                core::Tensor::borrow(bytes.data(), operand.whole.shape(), operand.whole.dtype()));
  backend_.synchronize();
  watch(operand.whole, operand.view, true);
  return bytes;
}

}  // namespace isaribi::selftest

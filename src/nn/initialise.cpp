// SPDX-License-Identifier: MIT
#include "nn/initialise.hpp"

#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace isaribi::nn {
namespace {

// Box-Muller on words 2k and 2k + 1, the same draw as api::RandomNormal, evaluated in f64.
double normal(const core::Words4& block, std::int64_t i) {
  const std::size_t pair = static_cast<std::size_t>(i & 2);
  const double u1 = (block.w[pair] + 1.0) * 0x1p-32;
  const double angle = 2.0 * std::numbers::pi * (block.w[pair + 1] * 0x1p-32);
  const double radius = std::sqrt(-2.0 * std::log(u1));
  return (i & 1) == 0 ? radius * std::cos(angle) : radius * std::sin(angle);
}

template <typename T>
void fill(const Initialiser& how, const core::Philox& stream, T* values, std::int64_t count) {
  if (how.kind == Initialiser::Kind::constant) {
    for (std::int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(how.scale);
    return;
  }
  core::Words4 block{};
  for (std::int64_t i = 0; i < count; ++i) {
    if ((i & 3) == 0) block = stream.block(0, static_cast<std::uint64_t>(i) >> 2);
    const double draw = how.kind == Initialiser::Kind::normal
                            ? normal(block, i & 3)
                            : 2.0 * (block.w[static_cast<std::size_t>(i & 3)] * 0x1p-32) - 1.0;
    values[i] = static_cast<T>(how.scale * draw);
  }
}

}  // namespace

const std::vector<std::string>& initialiser_names() {
  static const std::vector<std::string> names{"he_fan_in", "he_fan_out", "glorot",
                                              "uniform_fan_in"};
  return names;
}

Initialiser make_initialiser(const std::string& name, double fan_in, double fan_out) {
  using Kind = Initialiser::Kind;
  if (name == "he_fan_in") return {Kind::normal, std::sqrt(2.0 / fan_in)};
  if (name == "he_fan_out") return {Kind::normal, std::sqrt(2.0 / fan_out)};
  if (name == "glorot") return {Kind::uniform, std::sqrt(6.0 / (fan_in + fan_out))};
  if (name == "uniform_fan_in") return {Kind::uniform, 1.0 / std::sqrt(fan_in)};
  throw core::InternalError("no initialiser is called " + name);
}

void initialise(const Initialiser& how, std::uint64_t seed, std::uint32_t id,
                const core::Tensor& values) {
  const core::Philox stream(seed, core::Purpose::init, id);
  if (values.dtype() == core::DType::f64) {
    fill(how, stream, values.data<double>(), values.count());
  } else {
    fill(how, stream, values.data<float>(), values.count());
  }
}

}  // namespace isaribi::nn

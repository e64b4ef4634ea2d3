// SPDX-License-Identifier: MIT
#include "optim/kfac/build.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.hpp"
#include "core/timer.hpp"
#include "optim/kfac/statistics.hpp"

namespace isaribi::optim::kfac {
namespace {

using core::DType;
using core::Tensor;
using Form = Statistic::Form;

Statistic statistic(std::string name, Form form, core::Shape shape) {
  Statistic s;
  s.name = std::move(name);
  s.form = form;
  s.shape = shape;
  return s;
}

void describe(Block& block, Kind kind) {
  const std::int64_t groups = block.shape.groups, rows = block.shape.outputs,
                     columns = block.columns();
  if (!block.affine()) {
    block.g = statistic(block.name + "/fisher", Form::norm, {3, rows});
    return;
  }
  block.a = statistic(block.name + "/A", Form::symmetric, {groups, columns, columns});
  if (kind == Kind::foof) return;
  block.g = statistic(block.name + "/G", Form::symmetric, {groups, rows, rows});
  if (kind == Kind::ekfac)
    block.moments = statistic(block.name + "/S", Form::dense, {groups, rows, columns});
}

std::string layer_of(const nn::Parameter& p) {
  return p.name.substr(0, p.name.find('/'));
}

void add_use(std::vector<Block>& blocks, std::map<const nn::Parameter*, std::size_t>& known,
             const nn::CurvedLayer& layer, Kind kind) {
  if (!layer.curvature) {
    throw core::UsageError(fmt::format("{}: the curvature of a {} layer is not known",
                                       layer.layer->where(), layer.layer->kind()),
                           "choose optimizer/kind = \"sgd\" or \"adamw\" for this network");
  }
  const auto [at, fresh] = known.emplace(layer.curvature->weight, blocks.size());
  if (fresh) {
    Block block;
    block.name = layer_of(*layer.curvature->weight);
    block.shape = *layer.curvature;
    block.positions = block.shape.positions;
    describe(block, kind);
    blocks.push_back(std::move(block));
    return;
  }
  Block& block = blocks[at->second];
  ++block.uses;
  block.positions += layer.curvature->positions;
  if (kind == Kind::ekfac) {
    throw core::UsageError(
        fmt::format("{}: ekfac does not know weights that layers share", layer.layer->where()),
        "choose optimizer/kind = \"kfac\" for this network");
  }
}

double packed_bytes(const Statistic& s, double width) {
  return s.exists() ? static_cast<double>(s.packed_count()) * width : 0;
}

double count(const Statistic& s) {
  return s.exists() ? static_cast<double>(s.shape.count()) : 0;
}

void allocate_statistic(Statistic& s, bool sums, bool owner, const KfacSettings& settings,
                        api::Backend& backend) {
  if (!s.exists()) return;
  const core::Shape packed{s.packed_count()};
  const DType type = s.form == Form::norm ? DType::f64 : core::parse_dtype(settings.factor_type);
  if (sums) {
    s.packed = Tensor::zeros(packed, type);
    if (backend.memory().device().kind == core::Device::Kind::host) {
      s.local = s.packed.reshaped(s.local_shape());
    } else {
      s.local = backend.make(s.local_shape(), type);
    }
  }
  if (!owner) return;
  s.average = Tensor::zeros(packed, DType::f64);
  if (settings.refresh != "adaptive") return;
  s.last = Tensor::zeros(packed, DType::f64);
  s.before_last = Tensor::zeros(packed, DType::f64);
}

void allocate_inverse(Block& block, const KfacSettings& settings, api::Backend& backend) {
  Inverse& inverse = block.inverse;
  if (!block.affine()) {
    inverse.norm = Tensor::zeros(block.g.shape, DType::f64);
    return;
  }
  const DType type = block.shape.weight->value.dtype();
  const auto zeros = [&](const core::Shape& shape) {
    const Tensor t = backend.make(shape, type);
    backend.elementwise().fill({.y = t, .value = 0.0});
    return t;
  };
  inverse.a = zeros(block.a.shape);
  if (block.g.exists()) inverse.g = zeros(block.g.shape);
  if (settings.inverse != "eigen" || !block.g.exists()) return;
  inverse.divisors = zeros({block.shape.groups, block.shape.outputs, block.columns()});
  inverse.values_a = Tensor::zeros({block.shape.groups, block.columns()}, DType::f64);
  inverse.values_g = Tensor::zeros({block.shape.groups, block.shape.outputs}, DType::f64);
}

}  // namespace

KfacSettings resolved(Kind kind, KfacSettings settings) {
  if (kind == Kind::ekfac) settings.inverse = "eigen";
  if (kind == Kind::foof) settings.inverse = "cholesky";
  return settings;
}

std::vector<Block> make_blocks(Kind kind, std::span<const nn::CurvedLayer> layers) {
  std::vector<Block> blocks;
  std::map<const nn::Parameter*, std::size_t> known;
  for (const nn::CurvedLayer& layer : layers) add_use(blocks, known, layer, kind);
  return blocks;
}

InverseCost InverseCost::measure(api::Backend& backend) {
  constexpr double kLongEnough = 1e-3;  // the next size would take 20 times as long
  InverseCost cost;
  for (const std::int64_t dim : {16, 64, 192, 512}) {
    if (!cost.seconds_.empty() && cost.seconds_.back() > kLongEnough) break;
    Tensor identity({dim, dim}, DType::f32);
    std::fill_n(identity.data<float>(), identity.count(), 0.0f);
    for (std::int64_t i = 0; i < dim; ++i) identity.data<float>()[i * dim + i] = 2.0f;
    const Tensor a = backend.make({dim, dim}, DType::f32);
    double best = 1e30;
    for (int turn = 0; turn < 3; ++turn) {
      backend.copy(identity, a);
      backend.synchronize();
      const double start = core::now_seconds();
      if (backend.linalg().cholesky({.a = a}) == 0) backend.linalg().cholesky_inverse({.a = a});
      backend.synchronize();
      best = std::min(best, core::now_seconds() - start);
    }
    cost.dims_.push_back(static_cast<double>(dim));
    cost.seconds_.push_back(std::max(best, 1e-7));
  }
  return cost;
}

InverseCost InverseCost::agreed(api::Backend& backend, comm::Communicator& comm) {
  InverseCost cost = measure(backend);
  cost.dims_.resize(4, 0.0);  // a rank may have stopped at another size
  cost.seconds_.resize(4, 0.0);
  comm.broadcast(std::as_writable_bytes(std::span(cost.dims_)), 0);
  comm.broadcast(std::as_writable_bytes(std::span(cost.seconds_)), 0);
  while (cost.dims_.back() == 0) {
    cost.dims_.pop_back();
    cost.seconds_.pop_back();
  }
  return cost;
}

double InverseCost::seconds(double dim) const {
  if (dim <= dims_.front()) return seconds_.front();
  for (std::size_t i = 1; i < dims_.size(); ++i) {
    if (dim > dims_[i]) continue;
    const double power =
        std::log(seconds_[i] / seconds_[i - 1]) / std::log(dims_[i] / dims_[i - 1]);
    return seconds_[i - 1] * std::pow(dim / dims_[i - 1], power);
  }
  return seconds_.back() * std::pow(dim / dims_.back(), 3);
}

double InverseCost::seconds(const Block& block) const {
  if (!block.affine()) return 1e-9 * static_cast<double>(block.shape.outputs);
  const double a = seconds(static_cast<double>(block.a.shape[1]));
  const double g = block.g.exists() ? seconds(static_cast<double>(block.g.shape[1])) : 0;
  return static_cast<double>(block.shape.groups) * (a + g);
}

Sizes sizes_of(const std::vector<Block>& blocks, const Placement& placement, int rank,
               const KfacSettings& settings, core::DType type) {
  Sizes sizes;
  const double statistic =
      static_cast<double>(core::size_of(core::parse_dtype(settings.factor_type)));
  const double wire = static_cast<double>(core::size_of(wire_type(settings)));
  const double width = static_cast<double>(core::size_of(type));
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Block& b = blocks[i];
    const bool owner = b.owner == rank;
    const double gradient = static_cast<double>(
        b.affine() ? b.shape.groups * b.shape.outputs * b.columns() : 2 * b.shape.outputs);
    for (const Statistic* s : {&b.a, &b.g, &b.moments}) {
      if (placement.sums_factors() || owner) sizes.statistics += packed_bytes(*s, statistic);
      if (owner) sizes.averages += packed_bytes(*s, 8) * (settings.refresh == "adaptive" ? 3 : 1);
      sizes.wire_factors += packed_bytes(*s, s->form == Form::norm ? 8 : wire);
    }
    const double inverse = b.affine() ? width * (count(b.a) + count(b.g)) : 8 * count(b.g);
    if (placement.works(rank, i)) sizes.inverses += inverse;
    if (placement.works(rank, i) && b.affine() && b.g.exists() && settings.inverse != "eigen")
      sizes.packed += width * count(b.a);
    if (owner && b.affine() && settings.inverse == "cholesky") sizes.inverses += inverse;  // next
    sizes.wire_inverses += settings.inverse == "eigen" || !b.affine()
                               ? inverse
                               : packed_bytes(b.a, width) + packed_bytes(b.g, width);
    sizes.directions += 3 * width * gradient;
    sizes.wire_directions += width * gradient;
  }
  return sizes;
}

void allocate(std::vector<Block>& blocks, const Placement& placement, int rank,
              const KfacSettings& settings, api::Backend& backend) {
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    Block& b = blocks[i];
    const bool owner = b.owner == rank, sums = placement.sums_factors() || owner;
    for (Statistic* s : {&b.a, &b.g, &b.moments})
      allocate_statistic(*s, sums, owner, settings, backend);
    if (b.moments.exists() && !owner)
      b.moments.average = Tensor::zeros({b.moments.packed_count()}, DType::f64);
    if (placement.works(rank, i)) allocate_inverse(b, settings, backend);
    if (owner && b.affine() && b.g.exists() && settings.inverse != "eigen")
      b.inverse.damping = Tensor::zeros({2}, DType::f64);
    const DType type = b.shape.weight->value.dtype();
    const core::Shape shape = b.affine()
                                  ? core::Shape{b.shape.groups * b.shape.outputs, b.columns()}
                                  : core::Shape{2, b.shape.outputs};
    b.gradient = backend.make(shape, type);
    b.direction = backend.make(shape, type);
    b.scratch = backend.make(shape, type);
  }
}

}  // namespace isaribi::optim::kfac

// SPDX-License-Identifier: MIT
// Scales. Backward delivers d = g / N, N the samples of the global batch. With R places per sample
// where a weight is used: A = 1/N sum_n sum_t p p^T and G = 1/(N R) sum_n sum_t g g^T (expand,
// Grosse & Martens 2016), or A = 1/N sum_n a a^T with a = 1/R sum_t p and G = 1/N sum_n h h^T with
// h = sum_t g (reduce, Eschenhagen et al. 2023). Since g = N d, sums over d carry a factor N^2.
// FOOF has no G to carry the 1 / R: its A is a mean over samples and places, else layers of many
// places would hardly learn beside linear ones.
#include "optim/kfac/statistics.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/timer.hpp"

namespace isaribi::optim::kfac {
namespace {

constexpr std::size_t kBucketBytes = std::size_t{1} << 20;

/// [N, C] as [N, 1, 1, C]; images stay.
core::Tensor as_images(const core::Tensor& t) {
  const core::Shape& s = t.shape();
  return s.rank() == 4 ? t : t.reshaped({s[0], 1, 1, s[1]});
}

/// The sums, where they can travel.
void pack(const Statistic& s, api::Backend& backend) {
  if (s.local.raw() != s.packed.raw()) backend.copy(s.local.reshaped(s.packed.shape()), s.packed);
  backend.synchronize();
}

}  // namespace

core::Shape Statistic::local_shape() const {
  if (form != Form::symmetric) return shape;
  return {shape[0], shape[1] * (shape[1] + 1) / 2};
}

std::int64_t Statistic::packed_count() const {
  return local_shape().count();
}

std::int64_t used_rows(double fraction, std::int64_t n) {
  if (fraction >= 1 || n == 0) return n;
  return std::clamp<std::int64_t>(std::llround(std::ceil(fraction * static_cast<double>(n))), 1, n);
}

core::DType wire_type(const KfacSettings& settings) {
  return core::parse_dtype(settings.wire == "full" ? settings.factor_type : settings.wire);
}

Statistics::Statistics(std::vector<Block>& blocks, const KfacSettings& settings,
                       const Placement& placement, api::Backend& backend, comm::Communicator& comm,
                       comm::OwnerRoute* route)
    : blocks_(blocks),
      settings_(settings),
      placement_(placement),
      backend_(backend),
      comm_(comm),
      reducer_(comm, kBucketBytes, route) {}

void Statistics::expect(Block& block) {
  const bool here = placement_.sums_factors() || block.owner == comm_.rank();
  for (Statistic* s : {&block.a, &block.g, &block.moments}) {
    s->seen = 0;
    s->expected = 0;
    if (!s->wanted || !here) continue;
    s->expected = samples_.parts * block.uses * (s == &block.a ? 1 : samples_.passes);
  }
  block.uses_a = block.uses_g = 0;
}

void Statistics::begin(const StepSamples& samples) {
  samples_ = samples;
  rows_ = 0;
  counted_ = nullptr;
  for (Block& block : blocks_) expect(block);
}

double Statistics::finish() {
  reducer_.finish();
  if (!placement_.sums_factors()) return static_cast<double>(rows_);
  if (settings_.sample_fraction >= 1) return static_cast<double>(samples_.global);
  return static_cast<double>(comm_.all_reduce(rows_, comm::ReduceOp::sum));
}

core::Tensor Statistics::used(const core::Tensor& rows) const {
  return rows.rows(0, used_rows(settings_.sample_fraction, rows.shape()[0]));
}

void Statistics::count(Block& block, Statistic& statistic) {
  if (++statistic.seen < statistic.expected) return;
  if (statistic.seen > statistic.expected)
    throw core::InternalError("more passes than announced were heard: " + statistic.name);
  pack(statistic, backend_);
  if (!placement_.sums_factors()) return;
  const bool norm = statistic.form == Statistic::Form::norm;
  reducer_.add(statistic.packed, block.owner,
               norm ? statistic.packed.dtype() : wire_type(settings_));
}

void Statistics::on_input(const nn::Layer& layer, const core::Tensor& input) {
  const auto found = block_of_.find(&layer);
  if (found == block_of_.end()) return;
  const core::Stopwatch watch(seconds_);
  const core::Tensor x = used(input);
  if (counted_ == nullptr || counted_ == &layer) {
    counted_ = &layer;
    rows_ += x.shape()[0];
  }
  Block& block = blocks_[found->second.block];
  if (block.a.expected > 0) add_input(block, found->second.shape, x);
}

void Statistics::on_output_gradient(const nn::Layer& layer, const core::Tensor& input,
                                    const core::Tensor& gradient) {
  const auto found = block_of_.find(&layer);
  if (found == block_of_.end()) return;
  const core::Stopwatch watch(seconds_);
  Block& block = blocks_[found->second.block];
  if (block.g.expected > 0) add_gradient(block, used(gradient));
  if (block.moments.expected > 0) add_moments(block, used(input), used(gradient));
  reducer_.progress();
}

void Statistics::on_norm_gradient(const nn::Layer& layer,
                                  const api::BatchNormBackwardReduce& operands) {
  const auto found = block_of_.find(&layer);
  if (found == block_of_.end()) return;
  Block& block = blocks_[found->second.block];
  if (block.g.expected == 0) return;
  const core::Stopwatch watch(seconds_);
  const double n = static_cast<double>(samples_.global);
  backend_.factor().norm_fisher({.x = used(operands.x),
                                 .y = operands.y.defined() ? used(operands.y) : operands.y,
                                 .dy = used(operands.dy),
                                 .mean = operands.mean,
                                 .inv_std = operands.inv_std,
                                 .sums = block.g.local,
                                 .activation = operands.activation,
                                 .scale = n / static_cast<double>(samples_.draws),
                                 .accumulate = !first(block.g)});
  count(block, block.g);
}

void Statistics::add_input(Block& block, const nn::Curvature& layer, const core::Tensor& x) {
  const double n = static_cast<double>(samples_.global);
  const core::Tensor images = as_images(x);
  if (settings_.approximation == "reduce") {
    const api::PatchMean patches{.x = images,
                                 .kh = layer.kernel_h,
                                 .kw = layer.kernel_w,
                                 .geometry = layer.geometry,
                                 .bias = layer.bias != nullptr,
                                 .scale = 1.0 / static_cast<double>(block.positions)};
    add_mean(block, block.a, block.mean_a, block.uses_a, patches, 1.0 / n);
  } else {
    const double places = block.g.exists() ? 1.0 : static_cast<double>(block.positions);
    backend_.factor().patch_covariance({.x = images,
                                        .kh = layer.kernel_h,
                                        .kw = layer.kernel_w,
                                        .geometry = layer.geometry,
                                        .bias = layer.bias != nullptr,
                                        .scale = 1.0 / (n * places),
                                        .a = block.a.local,
                                        .accumulate = !first(block.a)});
  }
  count(block, block.a);
}

void Statistics::add_gradient(Block& block, const core::Tensor& dy) {
  const double n = static_cast<double>(samples_.global);
  const double scale = n / static_cast<double>(samples_.draws);
  const core::Tensor images = as_images(dy);
  const api::ConvGeometry groups{.groups = block.shape.groups};
  if (settings_.approximation == "reduce") {
    add_mean(block, block.g, block.mean_g, block.uses_g, {.x = images, .geometry = groups}, scale);
  } else {
    backend_.factor().patch_covariance({.x = images,
                                        .geometry = groups,
                                        .scale = scale / static_cast<double>(block.positions),
                                        .a = block.g.local,
                                        .accumulate = !first(block.g)});
  }
  count(block, block.g);
}

// KFAC-reduce: the sums over places of all uses of one pass, then their second moment.
void Statistics::add_mean(Block& block, Statistic& statistic, core::Tensor& mean,
                          std::int64_t& uses, const api::PatchMean& patches, double scale) {
  const std::int64_t rows = patches.x.shape()[0], groups = statistic.shape[0],
                     dim = statistic.shape[1];
  const std::int64_t needed = block.uses == 1 ? rows : 2 * rows;  // the sum, and the next use
  if (!mean.defined() || mean.shape()[0] < needed)
    mean = backend_.make({std::max<std::int64_t>(needed, 1), groups, dim}, patches.x.dtype());
  const core::Tensor sum = mean.rows(0, rows);
  api::PatchMean args = patches;
  args.out = uses == 0 ? sum : mean.rows(rows, 2 * rows);
  backend_.factor().patch_mean(args);
  if (uses > 0) backend_.elementwise().axpby({.alpha = 1.0, .x = args.out, .beta = 1.0, .y = sum});
  if (++uses < block.uses) return;
  uses = 0;
  backend_.factor().patch_covariance({.x = sum.reshaped({rows, 1, 1, groups * dim}),
                                      .geometry = {.groups = groups},
                                      .scale = scale,
                                      .a = statistic.local,
                                      .accumulate = statistic.seen >= block.uses});
}

// EKFAC: E[(Q_G^T grad_n Q_A)^2] over the samples, grad_n of each sample by its own backward pass
// of the weights (George et al. 2018).
void Statistics::add_moments(Block& block, const core::Tensor& x, const core::Tensor& dy) {
  const nn::Curvature& layer = block.shape;
  if (layer.positions == 1 && layer.kernel_h * layer.kernel_w * layer.groups == 1)
    return add_linear_moments(block, as_images(x), dy);
  const Inverse& basis = block.inverse;
  const std::int64_t groups = layer.groups, outputs = layer.outputs, columns = block.columns();
  const double scale = static_cast<double>(samples_.global) / static_cast<double>(samples_.draws);
  if (first(block.moments)) backend_.elementwise().fill({.y = block.moments.local, .value = 0.0});
  const core::Tensor images = as_images(x), gradients = as_images(dy);
  const core::DType type = x.dtype();
  const core::Tensor dw = backend_.make({groups * outputs, layer.kernel_h, layer.kernel_w,
                                         layer.inputs / layer.kernel_h / layer.kernel_w},
                                        type);
  const core::Tensor db =
      layer.bias != nullptr ? backend_.make({groups * outputs}, type) : core::Tensor();
  const core::Tensor whole = backend_.make({groups, outputs, columns}, type);
  const core::Tensor half = backend_.make({outputs, columns}, type);
  auto& linalg = backend_.linalg();
  for (std::int64_t n = 0; n < images.shape()[0]; ++n) {
    backend_.conv().backward_weights({.x = images.rows(n, n + 1),
                                      .dy = gradients.rows(n, n + 1),
                                      .dw = dw,
                                      .db = db,
                                      .geometry = layer.geometry});
    const core::Tensor matrix = dw.reshaped({groups * outputs, layer.inputs});
    const core::Tensor rows = whole.reshaped({groups * outputs, columns});
    if (layer.bias != nullptr) {
      backend_.elementwise().concat(
          {.parts = {matrix, db.reshaped({groups * outputs, 1})}, .y = rows});
    } else {
      backend_.copy(matrix, rows);
    }
    for (std::int64_t k = 0; k < groups; ++k) {
      const core::Tensor one = Block::group(whole, k);
      linalg.gemm({.a = one, .b = Block::group(basis.a, k), .c = half});
      linalg.gemm({.a = Block::group(basis.g, k), .b = half, .c = one, .transpose_a = true});
    }
    backend_.elementwise().multiply({.a = whole, .b = whole, .y = whole});
    backend_.elementwise().axpby(
        {.alpha = scale, .x = whole, .beta = 1.0, .y = block.moments.local});
  }
  count(block, block.moments);
}

// One place per sample: grad_n = g a^T, so its projection is (Q_G^T g) (Q_A^T a)^T, and the sum of
// the squares is one product.
void Statistics::add_linear_moments(Block& block, const core::Tensor& x, const core::Tensor& dy) {
  const std::int64_t n = x.shape()[0], outputs = block.shape.outputs, columns = block.columns();
  const double scale = static_cast<double>(samples_.global) / static_cast<double>(samples_.draws);
  const core::DType type = x.dtype();
  const core::Tensor a = backend_.make({n, 1, columns}, type), rows = a.reshaped({n, columns});
  const core::Tensor qa = backend_.make({n, columns}, type), qg = backend_.make({n, outputs}, type);
  const core::Tensor sum = backend_.make({outputs, columns}, type);
  backend_.factor().patch_mean({.x = x, .bias = block.shape.bias != nullptr, .out = a});
  backend_.linalg().gemm({.a = rows, .b = Block::group(block.inverse.a, 0), .c = qa});
  backend_.linalg().gemm(
      {.a = dy.reshaped({n, outputs}), .b = Block::group(block.inverse.g, 0), .c = qg});
  backend_.elementwise().multiply({.a = qa, .b = qa, .y = qa});
  backend_.elementwise().multiply({.a = qg, .b = qg, .y = qg});
  backend_.linalg().gemm({.a = qg, .b = qa, .c = sum, .transpose_a = true, .alpha = scale});
  backend_.elementwise().axpby({.alpha = 1.0,
                                .x = sum.reshaped(block.moments.shape),
                                .beta = first(block.moments) ? 0.0 : 1.0,
                                .y = block.moments.local});
  count(block, block.moments);
}

}  // namespace isaribi::optim::kfac

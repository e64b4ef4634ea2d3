// SPDX-License-Identifier: MIT
#include "backends/kokkos/backend.hpp"

#include "backends/kokkos/matrix.hpp"
#include "backends/kokkos/ops.hpp"
#include "backends/kokkos/runtime.hpp"
#include "core/error.hpp"

namespace isaribi::kokkos {
namespace {

/// A second queue on the same device. Host backends run each operation at once, so one instance
/// serves them all.
Space another_space(const Space& space) {
  if constexpr (kHost) {
    return space;
  } else {
    return Kokkos::Experimental::partition_space(space, 1)[0];
  }
}

class KokkosBackend final : public api::Backend {
 public:
  explicit KokkosBackend(Space space)
      : queue_{space, {}},
        conv_(make_conv(queue_)),
        linear_(make_linear(queue_)),
        linalg_(make_linalg(queue_)),
        factor_(make_factor(queue_)),
        norm_(make_norm(queue_)),
        pool_(make_pool(queue_)),
        elementwise_(make_elementwise(queue_)),
        loss_(make_loss(queue_)),
        random_(make_random(queue_)),
        update_(make_update(queue_)),
        cast_(make_cast(queue_)) {}

  std::string_view name() const override { return "kokkos"; }
  std::string description() const override {
    const Tile<float> tile = Tile<float>::best();
    return runtime_text() + (kHost ? fmt::format(", register tile {} x {} ({})", tile.rows,
                                                 Tile<float>::kColumns, tile.host.isa)
                                   : "");
  }
  bool owns(api::Op op, core::DType type) const override {
    if (op == api::Op::cast || op == api::Op::fill) return true;
    return type == core::DType::f32 || type == core::DType::f64;
  }

  core::MemoryResource& memory() override { return device_memory(); }

  void copy(const core::Tensor& src, const core::Tensor& dst) override {
    if (src.count() != dst.count() || src.dtype() != dst.dtype()) {
      throw core::ShapeError("kokkos copy",
                             std::string(core::name_of(dst.dtype())) + dst.shape().text(),
                             std::string(core::name_of(src.dtype())) + src.shape().text());
    }
    if (src.bytes() == 0 || src.raw() == dst.raw()) return;
    const bool from_host = kHost || src.device().kind == core::Device::Kind::host;
    const bool to_host = kHost || dst.device().kind == core::Device::Kind::host;
    if (from_host && to_host) {
      copy_bytes<Kokkos::HostSpace, Kokkos::HostSpace>(src, dst);
    } else if (from_host) {
      copy_bytes<Kokkos::HostSpace, Memory>(src, dst);
    } else if (to_host) {
      copy_bytes<Memory, Kokkos::HostSpace>(src, dst);
    } else {
      copy_bytes<Memory, Memory>(src, dst);
    }
  }

  void synchronize() override { queue_.space.fence("synchronize"); }
  std::unique_ptr<api::Backend> fork() override {
    return std::make_unique<KokkosBackend>(another_space(queue_.space));
  }

  api::ConvOps& conv() override { return *conv_; }
  api::LinearOps& linear() override { return *linear_; }
  api::LinalgOps& linalg() override { return *linalg_; }
  api::FactorOps& factor() override { return *factor_; }
  api::NormOps& norm() override { return *norm_; }
  api::PoolOps& pool() override { return *pool_; }
  api::ElementwiseOps& elementwise() override { return *elementwise_; }
  api::LossOps& loss() override { return *loss_; }
  api::RandomOps& random() override { return *random_; }
  api::UpdateOps& update() override { return *update_; }
  api::CastOps& cast() override { return *cast_; }

 private:
  template <typename From, typename To>
  void copy_bytes(const core::Tensor& src, const core::Tensor& dst) {
    using Unmanaged = Kokkos::MemoryTraits<Kokkos::Unmanaged>;
    const Kokkos::View<const std::byte*, From, Unmanaged> from(
        static_cast<const std::byte*>(src.raw()), src.bytes());
    const Kokkos::View<std::byte*, To, Unmanaged> to(static_cast<std::byte*>(dst.raw()),
                                                     dst.bytes());
    Kokkos::deep_copy(queue_.space, to, from);
  }

  Queue queue_;
  std::unique_ptr<api::ConvOps> conv_;
  std::unique_ptr<api::LinearOps> linear_;
  std::unique_ptr<api::LinalgOps> linalg_;
  std::unique_ptr<api::FactorOps> factor_;
  std::unique_ptr<api::NormOps> norm_;
  std::unique_ptr<api::PoolOps> pool_;
  std::unique_ptr<api::ElementwiseOps> elementwise_;
  std::unique_ptr<api::LossOps> loss_;
  std::unique_ptr<api::RandomOps> random_;
  std::unique_ptr<api::UpdateOps> update_;
  std::unique_ptr<api::CastOps> cast_;
};

}  // namespace

std::unique_ptr<api::Backend> make_backend(const api::Options& options,
                                           std::unique_ptr<api::Backend>, core::Log& log) {
  require_runtime(options, log);
  return std::make_unique<KokkosBackend>(Space());
}

}  // namespace isaribi::kokkos

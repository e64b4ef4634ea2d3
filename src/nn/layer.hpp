// SPDX-License-Identifier: MIT
// The interface of a layer: it infers its output shape, owns its parameters and state, and runs
// forward and backward through the backend. A layer knows no optimizer; curvature taps listen from
// outside (nn/curvature.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/api/backend.hpp"
#include "comm/communicator.hpp"
#include "comm/owner_route.hpp"
#include "core/tensor.hpp"
#include "core/timer.hpp"
#include "nn/parameter.hpp"

namespace isaribi::nn {

/// What one pass over a batch needs to know.
struct Pass {
  bool training = true;
  std::uint64_t seed = 0;
  std::uint64_t step = 0;         ///< keys dropout
  core::Tensor ids;               ///< [N] i32: global sample ids, in the backend's memory
  std::int64_t global_batch = 0;  ///< samples of all ranks in this pass
  comm::Communicator* comm =
      nullptr;  ///< for synchronised batch norm; nullptr: statistics of this rank only
  comm::OwnerRoute* route = nullptr;  ///< of what sharded layers give to all ranks; null: none
  api::Backend* backend = nullptr;
  core::PhaseTimers* timers = nullptr;
  bool parameter_gradients = true;  ///< backward: false leaves them alone (passes for a Fisher)
  bool running_statistics = true;   ///< forward, training: false keeps them (trial points)

  /// Times what ranks exchange in the middle of a pass, as the phase "exchange".
  std::optional<core::PhaseTimers::Scope> time_exchange() const;
};

/// How the gradient of a layer's inputs relates to that of its output; the graph plans memory by
/// it.
enum class GradientFlow : std::uint8_t {
  fresh,         ///< dx needs memory of its own
  in_place,      ///< one input, and dx may be dy itself
  pass_through,  ///< dx[i] = dy once backward has masked dy in place; the graph copies or adds it
};

class CurvatureTap;
struct Curvature;

class Layer {
 public:
  /// @param place where the deck states the layer ("deck.toml:12"), for messages; may be empty.
  explicit Layer(std::string name, std::string place = "")
      : name_(std::move(name)), place_(std::move(place)) {}
  virtual ~Layer() = default;
  const std::string& name() const { return name_; }
  virtual std::string_view kind() const = 0;
  /// Shape of one output sample from the shapes of one input sample each (no batch axis). @throws
  /// ShapeError.
  virtual core::Shape infer(std::span<const core::Shape> inputs) = 0;
  /// Parameters of this layer (empty for most). Values and gradients are filled in by the graph.
  virtual std::span<Parameter> parameters() { return {}; }
  /// Untrained state that a checkpoint must hold: running statistics.
  virtual std::vector<core::NamedTensor> state() { return {}; }
  /// Before prepare(): a layer that gains by it sets the shards of its parameters, and from then on
  /// forms the gradients of this rank's rows only, of the samples of all ranks.
  virtual void shard(const Sharding&) {}
  /// What prepare() takes of node memory where all ranks are on one node, beside parameters, of
  /// elements of `width` bytes.
  virtual std::size_t shared_bytes(std::size_t /*width*/) const { return 0; }
  /// How many inputs it takes.
  virtual std::size_t min_inputs() const { return 1; }
  virtual std::size_t max_inputs() const { return 1; }
  /// Called once after shapes are known: allocate what belongs to the layer alone. @param type of
  /// activations.
  virtual void prepare(api::Backend&, std::int64_t /*max_batch*/, core::DType /*type*/) {}
  /// Bytes that prepare() takes for `max_batch` samples.
  virtual std::size_t workspace_bytes(std::int64_t /*max_batch*/) const { return 0; }
  /// y = layer(x...). y is allocated by the graph.
  virtual void forward(const Pass& pass, std::span<const core::Tensor> x,
                       const core::Tensor& y) = 0;
  /// Given dy, writes dx[i] (undefined where no gradient is wanted) and the gradients of the
  /// parameters: replaced, or added to when `accumulate` (shared weights, micro-batches). dy is the
  /// layer's to change.
  virtual void backward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y,
                        const core::Tensor& dy, std::span<const core::Tensor> dx,
                        bool accumulate) = 0;
  /// Multiply-adds of one forward pass over one sample, for plan and report.
  virtual double multiply_adds() const { return 0; }

  // What the graph asks while it wires layers together.
  virtual GradientFlow gradient_flow() const { return GradientFlow::fresh; }
  /// Whether y is x under another shape: such a layer does no work and owns no memory.
  virtual bool is_view() const { return false; }
  /// Whether this layer is a plain relu, which the layer before it may take over.
  virtual bool is_relu() const { return false; }
  /// Asks the layer to apply a relu to its output from now on; false: it cannot. Such a layer may
  /// mask its dy in place.
  virtual bool fuse_relu() { return false; }
  /// Uses the parameters of `owner`, an earlier layer, instead of its own. @throws UsageError when
  /// kinds or shapes differ.
  virtual void share_parameters(Layer& owner);

  /// What second-order methods must know of the layer (nn/curvature.hpp); none: it has no
  /// parameters.
  virtual std::optional<Curvature> curvature();
  void set_tap(CurvatureTap* tap) { tap_ = tap; }
  /// "deck.toml:12: layer 'conv2'", the start of every message about this layer.
  std::string where() const;

 protected:
  CurvatureTap* tap() const { return tap_; }

 private:
  std::string name_, place_;
  CurvatureTap* tap_ = nullptr;
};

}  // namespace isaribi::nn

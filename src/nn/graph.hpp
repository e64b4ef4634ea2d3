// SPDX-License-Identifier: MIT
// A static graph of layers in topological order, its parameters, and the memory of one training
// step: activations are planned once for the largest local batch; gradients of all parameters are
// slices of one flat tensor, laid out in the order in which backward finishes them, so that
// gradient buckets are contiguous.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/curvature.hpp"
#include "nn/layer.hpp"
#include "nn/model_spec.hpp"
#include "nn/sharding.hpp"

namespace isaribi::nn {

/// How a graph is laid out in memory.
struct GraphOptions {
  std::int64_t max_batch = 1;           ///< samples of this rank in one pass, at most
  core::DType type = core::DType::f32;  ///< activations and weights
  core::DType gradient_type =
      core::DType::f64;    ///< f64: sums over ranks do not depend on their number
  bool training = true;    ///< false: no gradient memory, and activations share memory
  bool allocate = true;    ///< false: shapes, counts and memory() only, for isaribi plan
  std::uint64_t seed = 0;  ///< keys the initialisation
  Sharding sharding = {};  ///< of linear layers; as it is: none. Values in node memory are whole
                           ///< once all ranks of the node have made their graph
};

struct Plan;  // nn/plan.hpp

class Graph {
 public:
  /// Builds, checks shapes, allocates, initialises. @param sample shape of one input sample, [H, W,
  /// C] or [F].
  /// @throws UsageError / ShapeError naming the layer and its place in the deck.
  Graph(const ModelSpec& model, const core::Shape& sample, api::Backend& backend,
        const GraphOptions& options);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Output of the network for x: [N, ..] with N <= max_batch (N = 0 is legal: ranks without
  /// samples take part in the synchronised statistics). Valid until the next forward.
  const core::Tensor& forward(const Pass& pass, const core::Tensor& x);

  /// Called with the flat gradient range [begin, end) as soon as backward has finished it; ranges
  /// arrive in increasing order without gaps.
  using Ready = std::function<void(std::int64_t begin, std::int64_t end)>;
  /// Gradients of the parameters for dy = d(loss)/d(output), of the pass of the last forward. With
  /// `accumulate`, adds to what is there (micro-batches); `ready` then belongs to the last
  /// micro-batch only.
  void backward(const Pass& pass, const core::Tensor& dy, bool accumulate, const Ready& ready);

  /// All parameters, in the order of the layers; shared ones once.
  std::span<Parameter* const> parameters() const { return parameters_; }
  /// All gradients that are to be summed over ranks, which is all but those of sharded parameters:
  /// [number of scalars], gradient_type.
  const core::Tensor& flat_gradient() const { return flat_gradient_; }
  /// Running statistics and the like, in the order of the layers.
  /// Names: "bn1/running_mean".
  std::vector<core::NamedTensor> state() const;
  const core::Shape& output_sample_shape() const;
  std::int64_t parameter_count() const;
  /// Every layer, in topological order, for tables, plan and taps.
  std::span<const std::unique_ptr<Layer>> layers() const;
  /// Shape of one output sample of layer i.
  const core::Shape& layer_shape(std::size_t i) const;
  /// Bytes of activations, activation gradients, parameters and parameter gradients.
  struct Memory {
    std::size_t activations = 0, activation_gradients = 0, parameters = 0, gradients = 0;
    std::size_t workspaces = 0;  ///< of layers: positions of maxima and the like
  };
  Memory memory() const;
  /// What a graph with this sharding takes of a node's memory, if it has some.
  std::size_t shared_bytes(bool one_node) const;
  /// Who hears the passes from now on; null: nobody.
  void set_tap(CurvatureTap* tap);
  /// Every layer that uses parameters, its own or shared ones, in topological order.
  std::vector<CurvedLayer> curved_layers() const;

 private:
  void set_batch(std::int64_t n);

  std::unique_ptr<Plan> plan_;
  std::vector<Parameter*> parameters_;
  core::Tensor flat_gradient_;
};

/// Graph::shared_bytes of a graph that is yet to be made.
std::size_t shared_bytes(const ModelSpec& model, const core::Shape& sample, api::Backend& backend,
                         GraphOptions options, bool one_node);

/// Names of the presets, for messages and --help.
std::vector<std::string> preset_names();
/// The layers of a preset for samples of `sample` shape and `outputs` outputs. @throws UsageError
/// for an unknown name.
std::vector<LayerSpec> preset_layers(const std::string& name, const core::Shape& sample,
                                     std::int64_t outputs);

}  // namespace isaribi::nn

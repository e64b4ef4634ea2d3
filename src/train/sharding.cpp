// SPDX-License-Identifier: MIT
#include "train/sharding.hpp"

#include "comm/agreement.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::train {

nn::Sharding sharding_of(const Config& config, int rank, int ranks) {
  if (config.comm.shards == "off" || config.run.backend == "cuda" ||
      optim::uses_owners(config.optimizer))
    return {};
  const std::string& wire =
      config.comm.wire == "same" ? config.train.gradient_type : config.comm.wire;
  return {.rank = rank,
          .ranks = ranks,
          .batch = config.data.batch / config.train.micro_batches,
          .passes = config.train.micro_batches,
          .gradient_bytes = static_cast<std::int64_t>(core::size_of(core::parse_dtype(wire)))};
}

std::unique_ptr<comm::NodeMemory> node_memory_of(const Config& config, const Context& context,
                                                 const nn::ModelSpec& model,
                                                 const core::Shape& sample,
                                                 const nn::GraphOptions& options,
                                                 const comm::OwnerRoute* route) {
  if (config.comm.shards == "private") return nullptr;
  auto node = context.comm.split_node();
  const bool one_node = node->size() == context.comm.size();
  std::size_t bytes = 0;
  comm::run_together(context.comm, [&] {
    bytes = nn::shared_bytes(model, sample, context.backend, options, one_node);
  });
  if (bytes == 0) return nullptr;
  if (!comm::NodeMemory::serves(context.comm, *node)) return nullptr;
  try {
    return std::make_unique<comm::NodeMemory>(context.comm, std::move(node), bytes, route);
  } catch (const comm::CollectiveError& error) {
    context.log.warn("weights in shards: each rank keeps a copy, since it {}", error.cause());
    return nullptr;
  }
}

}  // namespace isaribi::train

// SPDX-License-Identifier: MIT
#include "train/dump.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "comm/agreement.hpp"
#include "comm/rank_slice.hpp"
#include "io/hdf5/atomic.hpp"
#include "io/hdf5/file.hpp"

namespace isaribi::train {
namespace fs = std::filesystem;
namespace {

using core::Tensor;

/// The rows of all ranks in the order of the global batch.
Tensor gathered(const Tensor& mine, std::int64_t first, std::int64_t rows,
                comm::Communicator& comm) {
  const Tensor all = Tensor::zeros(mine.shape().with_batch(rows), mine.dtype());
  const std::size_t row =
      mine.shape()[0] > 0 ? mine.bytes() / static_cast<std::size_t>(mine.shape()[0]) : 0;
  if (mine.bytes() > 0)
    std::memcpy(static_cast<std::byte*>(all.raw()) + static_cast<std::size_t>(first) * row,
                mine.raw(), mine.bytes());
  comm.all_reduce(all, comm::ReduceOp::sum);  // x + 0
  return all;
}

void write_all(hdf5::Group& group, const std::string& name, const Tensor& tensor) {
  group.create_dataset(name, tensor.shape(), tensor.dtype()).write(tensor);
}

/// Micro-batches behind each other.
void write_rows(hdf5::Group& group, const std::string& name, const std::vector<Tensor>& parts) {
  if (parts.empty()) return;
  std::int64_t rows = 0, at = 0;
  for (const Tensor& part : parts) rows += part.shape()[0];
  hdf5::Dataset data =
      group.create_dataset(name, parts[0].shape().with_batch(rows), parts[0].dtype());
  for (const Tensor& part : parts) {
    data.write_range(at, part, hdf5::Transfer::independent);
    at += part.count();
  }
}

}  // namespace

Dump::Dump(const nn::Graph& graph, const Context& context, std::int64_t step) : step_(step) {
  const auto keep = [&](const std::string& name, const Tensor& value) {
    const Tensor host(value.shape(), value.dtype());
    context.backend.copy(value, host);
    weights_.push_back({name, host});
  };
  for (const nn::Parameter* p : graph.parameters()) keep(p->name, p->value);
  for (const core::NamedTensor& t : graph.state()) keep(t.name, t.tensor);
  context.backend.synchronize();
}

void Dump::add(const data::Batch& batch, const Context& context) {
  const std::int64_t rows = batch.global_size;
  const std::int64_t first = comm::rank_slice(rows, context.comm.rank(), context.comm.size()).first;
  ids_.push_back(gathered(batch.ids, first, rows, context.comm));
  inputs_.push_back(gathered(batch.images, first, rows, context.comm));
  if (batch.labels.defined()) labels_.push_back(gathered(batch.labels, first, rows, context.comm));
}

void Dump::write(const std::string& dir, optim::Optimizer& optimizer, const Context& context) {
  const std::vector<optim::CurvatureDump> layers = optimizer.dump();
  comm::run_on_root(context.comm, [&] {
    const fs::path folder = fs::path(dir) / "diagnostics";
    fs::create_directories(folder);
    hdf5::AtomicFile target((folder / fmt::format("step_{:08d}.h5", step_)).string());
    hdf5::File file = hdf5::File::create(target.temporary());
    file.set("step", step_);
    file.set("optimizer", std::string(optimizer.kind()));
    write_rows(file, "sample_ids", ids_);
    write_rows(file, "inputs", inputs_);
    write_rows(file, "labels", labels_);
    for (const core::NamedTensor& t : weights_) write_all(file, "weights/" + t.name, t.tensor);
    for (const optim::CurvatureDump& layer : layers) {
      hdf5::Group group = file.create_group("layers/" + layer.layer);
      for (const core::NamedTensor& t : layer.tensors) write_all(group, t.name, t.tensor);
      for (const auto& [name, value] : layer.values) group.set(name, value);
    }
    file.close();
    target.commit();
  });
}

}  // namespace isaribi::train

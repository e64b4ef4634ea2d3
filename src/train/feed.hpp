// SPDX-License-Identifier: MIT
// Brings a batch from host memory to the backend's device; on a host backend it hands the same
// memory on.
#pragma once

#include "backends/api/backend.hpp"
#include "io/data/loader.hpp"

namespace isaribi::train {

struct DeviceBatch {
  core::Tensor images;  ///< [n, H, W, C] f32
  core::Tensor labels;  ///< [n] i32, or undefined
  core::Tensor ids;     ///< [n] i32
};

class Feed {
 public:
  explicit Feed(api::Backend& backend) : backend_(backend) {}

  /// Valid until the next load() and as long as `batch`.
  DeviceBatch load(const data::Batch& batch) {
    return {move(batch.images, images_), move(batch.labels, labels_), move(batch.ids, ids_)};
  }

 private:
  core::Tensor move(const core::Tensor& host, core::Tensor& buffer) {
    if (!host.defined() || backend_.memory().device() == host.device()) return host;
    if (!buffer.defined() || buffer.count() < host.count())
      buffer = backend_.make(host.shape(), host.dtype());
    core::Tensor device = buffer.slice(0, host.shape());
    backend_.copy(host, device);
    return device;
  }

  api::Backend& backend_;
  core::Tensor images_, labels_, ids_;
};

}  // namespace isaribi::train

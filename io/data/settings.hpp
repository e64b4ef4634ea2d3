// SPDX-License-Identifier: MIT
// [data] of the deck, as typed values.
#pragma once

#include <cstdint>
#include <string>

namespace isaribi::data {

/// Augmentation of training images, keyed by (seed, epoch, global sample id).
struct AugmentSettings {
  bool flip = false;      ///< horizontal mirror with probability 1/2
  std::int64_t crop = 0;  ///< shift by up to this many pixels each way, zero (mean) outside
  double erase =
      0.0;  ///< probability of random erasing (Zhong et al. 2017): value 0 after normalisation
  double erase_area_min = 0.02, erase_area_max = 0.25, erase_aspect_min = 0.3;
};

struct DataSettings {
  std::string train, test;         ///< HDF5 data sets in our schema (io/data/README.md)
  std::int64_t batch = 128;        ///< global batch, over all ranks
  std::int64_t eval_batch = 1000;  ///< global batch of evaluation
  bool shuffle = true;
  bool drop_last = true;          ///< drop the samples of an epoch that do not fill a batch
  std::string targets = "label";  ///< label: class labels; self: the sample itself (autoencoder)
  std::string normalize =
      "standard";  ///< standard: (x - mean) / std of the training set per channel; unit: x / 255
  std::int64_t preload_mb =
      4096;  ///< sets up to this size are held once per node in shared memory; larger ones stream
  std::int64_t chunk = 1024;  ///< samples per shuffled chunk when streaming
  std::int64_t prefetch = 3;  ///< batches prepared ahead
  AugmentSettings augment;
};

}  // namespace isaribi::data

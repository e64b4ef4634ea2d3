// SPDX-License-Identifier: MIT
// Where a run is, and what it has seen since its last line of output. Part of every checkpoint, so
// that a restarted run prints the line that an uninterrupted one would have printed.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "io/checkpoint/state.hpp"

namespace isaribi::train {

struct Progress {
  std::int64_t step = 0;   ///< optimizer steps done
  std::int64_t epoch = 0;  ///< epoch of the next batch
  std::int64_t batch = 0;  ///< index of the next global batch in its epoch
  std::int64_t order = 0;  ///< hash of the sample ids of all batches so far, in their global order
  double interval_loss = 0;  ///< sums since the last line: loss, right answers, samples
  double interval_correct = 0;
  double interval_samples = 0;
  std::int64_t evaluated_step = -1;  ///< step of the last evaluation, and its result
  double test_loss = -1;
  double test_accuracy = -1;

  /// Writes all of it as "progress/..." values.
  void capture(std::map<std::string, checkpoint::Value>& values) const;
  /// Reads them back. @throws DataError when one is missing.
  void restore(const std::map<std::string, checkpoint::Value>& values, const std::string& file);
  void clear_interval() { interval_loss = interval_correct = interval_samples = 0; }
};

}  // namespace isaribi::train

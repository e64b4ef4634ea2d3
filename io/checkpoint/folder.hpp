// SPDX-License-Identifier: MIT
// The files of a checkpoint folder: names, order, the `latest` pointer, rotation. Rank 0 only; no
// HDF5 here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isaribi::checkpoint {

/// "step-000000001500.h5"
std::string file_name(std::int64_t step);
/// Finished checkpoints of `folder`, newest (highest step) first; empty when the folder does not
/// exist.
std::vector<std::string> list(const std::string& folder);
/// Moves `temporary` to `final` in the same folder flushed before and after. @throws DataError.
void publish(const std::string& temporary, const std::string& final);
/// Points folder/latest at `name`, atomically, unless it does already.
void point_latest(const std::string& folder, const std::string& name);
/// Deletes all but the newest `keep` checkpoints and every leftover temporary file. `verified` is
/// never deleted.
void rotate(const std::string& folder, int keep, const std::string& verified);

}  // namespace isaribi::checkpoint

// SPDX-License-Identifier: MIT
// The report of one or several runs: figures, a table as CSV, and one self-contained HTML page.
#pragma once

#include <string>
#include <vector>

namespace isaribi::report {

/// Reads metrics.jsonl, status.json and deck.toml of each run folder and writes loss.png,
/// accuracy.png (when there is one), learning_rate.png, throughput.png, time.png (of one run),
/// metrics.csv and index.html into `output` (made if needed). Several runs are overlaid, one colour
/// each.
/// @return the files written. @throws DataError: no metrics in a folder, or `output` cannot be
/// written.
std::vector<std::string> write_report(const std::vector<std::string>& runs,
                                      const std::string& output);

}  // namespace isaribi::report

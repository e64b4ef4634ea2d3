// SPDX-License-Identifier: MIT
// What isaribi allreduce leaves behind: a tuning file for train, a table, a heat map.
#pragma once

#include <string>

#include "comm/allreduce/containment.hpp"

namespace isaribi::app {

/// JSON, replaced in one step. @throws core::DataError
void write_tuning(const comm::Tuning& tuning, const std::string& path);
/// @throws core::DataError naming what is wrong with the file
comm::Tuning read_tuning(const std::string& path);

/// One line per plan and size, of all `ranks`, then of the parts; `contained` says of a plan of all
/// that was cut down to a part whether it is among the fastest there. @throws core::DataError
void write_allreduce_csv(const comm::TunerReport& report, int ranks,
                         const comm::ContainmentReport& containment, const std::string& path);
/// Plans against sizes, coloured by speed relative to the library's allreduce. @throws
/// core::DataError
void draw_allreduce(const comm::TunerReport& report, const std::string& path);

}  // namespace isaribi::app

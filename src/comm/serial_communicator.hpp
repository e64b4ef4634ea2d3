// SPDX-License-Identifier: MIT
// The group of one rank that never touches MPI: `inspect`, `convert`, `plan`, and every unit test.
#pragma once

#include <memory>

#include "comm/communicator.hpp"

namespace isaribi::comm {

std::unique_ptr<Communicator> make_serial_communicator();

}  // namespace isaribi::comm

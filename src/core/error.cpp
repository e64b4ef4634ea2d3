// SPDX-License-Identifier: MIT
#include "core/error.hpp"

#include <utility>

namespace isaribi::core {
namespace {

std::string with_hint(const std::string& cause, const std::string& hint) {
  return hint.empty() ? cause : cause + "\n  hint: " + hint;
}

}  // namespace

Error::Error(ExitCode code, std::string cause, std::string hint)
    : std::runtime_error(with_hint(cause, hint)),
      code_(code),
      cause_(std::move(cause)),
      hint_(std::move(hint)) {}

UsageError::UsageError(std::string cause, std::string hint)
    : Error(ExitCode::usage, std::move(cause), std::move(hint)) {}

ShapeError::ShapeError(std::string where, std::string expected, std::string got, std::string hint)
    : UsageError(where + ": expected " + expected + ", got " + got, std::move(hint)),
      expected_(std::move(expected)),
      got_(std::move(got)) {}

DataError::DataError(std::string file, std::string cause, std::string hint)
    : Error(ExitCode::data, file + ": " + cause, std::move(hint)), file_(std::move(file)) {}

NumericalError::NumericalError(std::string cause, std::string hint)
    : Error(ExitCode::numerical, std::move(cause), std::move(hint)) {}

CommError::CommError(std::string cause, std::string hint)
    : Error(ExitCode::comm, std::move(cause), std::move(hint)) {}

InternalError::InternalError(std::string cause)
    : Error(ExitCode::internal, "internal error: " + cause,
            "this is a defect of isaribi: please report it with the command and the deck") {}

}  // namespace isaribi::core

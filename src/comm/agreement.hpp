// SPDX-License-Identifier: MIT
// Errors and facts that all ranks must share. A rank that fails alone while others wait for it is a
// hang, and a failure that every rank reports is a flood; both end here.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "core/error.hpp"

namespace isaribi::comm {

/// An error that every rank of the group throws with the same text: rank 0 prints it, all ranks
/// leave with code() through the normal end of the program. Any other exception is one rank's own:
/// it prints with its rank and host, and ends the job by Communicator::abort(code).
class CollectiveError : public core::Error {
 public:
  using core::Error::Error;
};

/// Collective: runs `work`, which may fail on some ranks only and must not communicate. If it
/// failed anywhere, every rank throws the same CollectiveError: that of the lowest failing rank,
/// with rank and host named unless all failed.
void run_together(Communicator& comm, const std::function<void()>& work);
/// Collective: runs `work` on rank 0 only; if it fails, every rank throws its error.
void run_on_root(Communicator& comm, const std::function<void()>& work);

/// Collective, cheap enough for every step: the reason (not empty) of the lowest rank that has one,
/// on every rank; empty when no rank has one. For stop requests, which ranks notice at different
/// times.
std::string agree_on_reason(Communicator& comm, const std::string& mine);

/// Something that must be the same on every rank: "program build", "deck", "training data".
struct AgreementItem {
  std::string name;
  std::string value;  ///< a version, a hash
};
/// Collective, once at start. @throws CollectiveError with ExitCode::comm on all ranks, naming each
/// item that differs and which ranks on which hosts hold which value.
void check_agreement(Communicator& comm, const std::vector<AgreementItem>& items);

}  // namespace isaribi::comm

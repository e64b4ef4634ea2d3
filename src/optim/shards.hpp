// SPDX-License-Identifier: MIT
// What first-order optimizers do about parameters of which each rank updates its rows only
// (nn::Shards): they keep moments of these rows, and hand the rows to the other ranks. Internal to
// optim.
#pragma once

#include <optional>
#include <vector>

#include "optim/kinds.hpp"

namespace isaribi::optim {

/// Gives every rank the rows that others have updated.
class RowExchange {
 public:
  RowExchange(const Subject& subject, comm::Communicator& comm)
      : comm_(comm),
        route_(subject.route),
        timers_(subject.timers),
        node_(nn::node_memory(subject.parameters)) {}
  /// Collective, before rows are updated: no rank reads them any more.
  void begin();
  /// Collective, once this rank's rows of `p` are updated; nothing if it is not sharded.
  void start(const nn::Parameter& p);
  /// Waits until the values of all are whole.
  void finish();

 private:
  std::optional<core::PhaseTimers::Scope> time() const;

  comm::Communicator& comm_;
  comm::OwnerRoute* route_;
  core::PhaseTimers* timers_;
  comm::NodeMemory* node_;
  std::vector<comm::Request> under_way_;
  std::vector<comm::NodeMemory::Parts> on_node_;
};

/// One tensor beside each parameter, zero at the start (momentum, second moments): of the rows that
/// this rank updates, and whole while state is read or written.
class Moments {
 public:
  /// @param prefix of their names: "momentum"
  Moments(const char* prefix, Parameters parameters, api::Backend& backend);
  const core::Tensor& own(std::size_t i) const { return own_[i]; }
  /// Collective: makes whole tensors of the rows of all ranks, which live until release() or
  /// adopt().
  void gather(comm::Communicator& comm);
  /// "PREFIX/conv1/weight" and so on: the whole tensors, once gathered.
  void append_to(std::vector<core::NamedTensor>& list) const;
  /// Takes over what was written to the whole tensors.
  void adopt();
  void release() { whole_.clear(); }

 private:
  const char* prefix_;
  Parameters parameters_;
  api::Backend& backend_;
  std::vector<core::Tensor> own_, whole_;
};

}  // namespace isaribi::optim

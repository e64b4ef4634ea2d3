// SPDX-License-Identifier: MIT
#include "app/run.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <thread>

#include "comm/agreement.hpp"
#include "core/timer.hpp"

namespace isaribi::app {
namespace {

int environment_number(std::initializer_list<const char*> names, int fallback) {
  for (const char* name : names) {
    const char* text = std::getenv(name);
    if (text != nullptr && *text != '\0') return std::atoi(text);
  }
  return fallback;
}

/// The exception being handled as one of ours.
core::Error current_error(bool& same_on_all_ranks) {
  same_on_all_ranks = false;
  try {
    throw;
  } catch (const comm::CollectiveError& error) {
    same_on_all_ranks = true;
    return error;
  } catch (const core::Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return core::Error(core::ExitCode::internal, "out of memory",
                       "isaribi plan DECK --ranks N says how much a run needs: lower data/batch or "
                       "use more nodes");
  } catch (const std::exception& error) {
    return core::InternalError(error.what());
  }
}

/// Whether all ranks of the job came to fail within a short time. A group of its own carries the
/// question, so that it cannot be mistaken for what the other ranks wait for.
class FailureAgreement {
 public:
  explicit FailureAgreement(comm::Communicator& world)
      : channel_(world.size() > 1 ? world.duplicate() : nullptr) {}

  /// The lowest failed rank and its exit code when all failed; empty after `seconds` otherwise.
  struct Verdict {
    int speaker;
    core::ExitCode code;
  };
  std::optional<Verdict> reach(const core::Error& error, double seconds) {
    const int code = static_cast<int>(error.code());
    if (channel_ == nullptr) return Verdict{0, error.code()};
    // One minimum per question: does everyone fail alike, and how does the first rank fail?
    core::Tensor asked = core::Tensor::zeros({1}, core::DType::f64);
    asked.data<double>()[0] = channel_->is_root() ? code : 1000.0;
    comm::Request request = channel_->start_all_reduce(asked, comm::ReduceOp::min);
    const double start = core::now_seconds();
    while (!request.test()) {
      if (core::now_seconds() - start > seconds) {
        abandoned_ = std::make_unique<comm::Request>(std::move(request));
        return std::nullopt;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return Verdict{0, static_cast<core::ExitCode>(static_cast<int>(asked.data<double>()[0]))};
  }
  /// Never returns, and waits for nothing that this holds.
  [[noreturn]] void abort(comm::Communicator& world, core::ExitCode code) {
    static_cast<void>(abandoned_.release());
    static_cast<void>(channel_.release());
    world.abort(code);
    std::_Exit(static_cast<int>(code));
  }

 private:
  std::unique_ptr<comm::Communicator> channel_;
  std::unique_ptr<comm::Request> abandoned_;
};

void tell_status(Session& session, const core::Error& error) {
  if (!session.on_failure) return;
  try {
    session.on_failure(error.code(), error.cause());
  } catch (const std::exception&) {  // the error itself matters more than its record
  }
}

}  // namespace

int launcher_rank() {
  return environment_number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}, 0);
}

int launcher_size() {
  return environment_number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"}, 1);
}

void say_error(const core::Error& error, const std::string& whose) {
  std::string text = fmt::format("isaribi: error: {}{}\n", whose, error.cause());
  if (!error.hint().empty()) text += fmt::format("  hint: {}\n", error.hint());
  std::fflush(stdout);
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

int leave_before_mpi(const core::Error& error) {
  if (launcher_rank() == 0) {
    say_error(error);
  } else {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  return static_cast<int>(error.code());
}

int run(const Command& command, Session& session) {
  FailureAgreement agreement(session.comm);
  try {
    return static_cast<int>(command.run(session));
  } catch (...) {
    bool same = false;
    const core::Error error = current_error(same);
    if (same) {
      if (session.comm.is_root()) {
        say_error(error);
        tell_status(session, error);
      }
      return static_cast<int>(error.code());
    }
    constexpr double kPatience = 2;  // seconds; ranks that fail alike do so within milliseconds
    const auto verdict = agreement.reach(error, kPatience);
    if (verdict && session.comm.rank() != verdict->speaker) return static_cast<int>(verdict->code);
    const std::string whose =
        verdict || session.comm.size() == 1
            ? ""
            : fmt::format("rank {} on {}: ", session.comm.rank(), session.comm.host());
    say_error(error, whose);
    tell_status(session, error);
    if (!verdict) agreement.abort(session.comm, error.code());
    return static_cast<int>(verdict->code);
  }
}

}  // namespace isaribi::app

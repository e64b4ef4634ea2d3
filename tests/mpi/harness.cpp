// SPDX-License-Identifier: MIT
#include "harness.hpp"

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace isaribi::mpi_test {

int run_cases(int argc, char** argv, const std::vector<Case>& cases, comm::RuntimeOptions options) {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--one-thread") options.one_thread = true;
  }
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string_view(argv[i]) == "--piece-bytes") {
      options.piece_bytes = std::strtoull(argv[i + 1], nullptr, 10);
    }
  }
  comm::Runtime runtime = comm::Runtime::mpi(argc, argv, options);
  comm::Communicator& world = runtime.world();
  for (const Case& test : cases) {
    try {
      test.body(world);
      world.barrier();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "FAILED on rank %d of %d: %s: %s\n", world.rank(), world.size(),
                   test.name.c_str(), error.what());
      world.abort(core::ExitCode::internal);
    }
    if (world.is_root()) std::printf("ok: %s\n", test.name.c_str());
  }
  return 0;
}

}  // namespace isaribi::mpi_test

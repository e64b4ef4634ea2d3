// SPDX-License-Identifier: MIT
// An MPI library that allows calls of the main thread only: loaded before the real one
// (LD_PRELOAD), it answers through the profiling interface of MPI.
#include <mpi.h>

extern "C" int MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  const int result = PMPI_Init_thread(
      argc, argv, required < MPI_THREAD_FUNNELED ? required : MPI_THREAD_FUNNELED, provided);
  if (*provided > MPI_THREAD_FUNNELED) *provided = MPI_THREAD_FUNNELED;
  return result;
}

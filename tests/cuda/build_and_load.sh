#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Usage: build_and_load.sh SOURCE BUILD [cmake option...]: builds the program with the CUDA module, and sees that it starts
# without a driver and says so, or on a GPU that selftest passes. Also the proof that Kokkos and SIMD can be left out.
set -euo pipefail
source_folder="$1" build="$2"
shift 2

if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
  echo "skipped: no nvcc"
  exit 0
fi
PATH="$PATH:/usr/local/cuda/bin"
cmake -S "$source_folder" -B "$build" -DISARIBI_CUDA=ON -DISARIBI_KOKKOS=OFF -DISARIBI_SIMD=OFF -DISARIBI_TESTS=OFF "$@"
cmake --build "$build" --target isaribi --parallel "${ISARIBI_JOBS:-2}"
program="$build/bin/isaribi"

expect() { # expect PATTERN OUTPUT
  grep -qE -- "$1" <<<"$2" || { printf 'expected "%s" in:\n%s\n' "$1" "$2" && exit 1; }
}

[ -f "$build/lib/isaribi/isaribi_cuda.so" ] || { echo "no module was built" && exit 1; }
if ldd "$program" | grep -E 'libcu(da|blas|dart|solver)'; then
  echo "the executable links CUDA: it would not start on a login node"
  exit 1
fi
# NCCL, where CMake found it: two ranks are told why it cannot serve them (of two GPUs they would sum a buffer).
if [ -f "$build/lib/isaribi/isaribi_nccl.so" ] && command -v mpirun >/dev/null; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  answer="$(mpirun --oversubscribe -np 2 "$program" allreduce --sizes 1M --plan nccl2 --check --output "" 2>&1)" || true
  expect "no driver|no GPU|would use the GPU of rank 0|nccl2 +[0-9]" "$answer"
  echo "NCCL: $(grep -oE 'no driver|no GPU|would use the GPU of rank 0|nccl2 .*' <<<"$answer" | head -n 1)"
else
  echo "NCCL: not built"
fi
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
  "$program" selftest --backend=cuda
else
  expect "cuda:? +built, not usable here: no driver" "$("$program" --version)"
  code=0
  answer="$("$program" selftest --backend=cuda 2>&1)" || code=$?
  expect "built, not usable here: no driver" "$answer"
  [ "$code" -eq 2 ] || { echo "expected exit code 2 for an unusable backend, got $code" && exit 1; }
  echo "no GPU here: built, linked and loaded; kernels were not run"
fi

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One machine without a scheduler: jobscripts/local/train.sh RANKS DECK RUN [block/key=value...]
# Starts again after every interruption that made progress, as a scheduler's jobs do.
set -euo pipefail
# shellcheck source=jobscripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
ranks="$1" deck="$2" run="$3"
shift 3
isaribi_single_node_mpi "$ranks"
isaribi_header

while true; do
  code=0
  isaribi_launch mpirun -np "$ranks" "$(isaribi_program)" train "$deck" run/dir="$run" checkpoint/restart=auto "$@" || code=$?
  case "$(isaribi_verdict "$run" "$code")" in
    finished) exit 0 ;;
    resubmit) continue ;;
    *) exit "$code" ;;
  esac
done

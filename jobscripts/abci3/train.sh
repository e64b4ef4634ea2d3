#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ABCI 3.0: qsub -P GROUP -v GROUP=GROUP,DECK=...,RUN=...[,OVERRIDES="block/key=value ..."] jobscripts/abci3/train.sh
# Written from the public guide, not yet run there. A job that submits itself again knows only the lines below.
#PBS -N isaribi
#PBS -q rt_HF
#PBS -l select=1:mpiprocs=8
#PBS -l walltime=01:00:00
#PBS -j oe
#PBS -k oe
#PBS -m n
set -euo pipefail
cd "$PBS_O_WORKDIR"
jobscripts="${ISARIBI_JOBSCRIPTS:-$PWD/jobscripts}"
# shellcheck source=jobscripts/lib.sh
source "$jobscripts/lib.sh"

isaribi_modules /etc/profile.d/modules.sh gcc/13.2.0 cuda/12.6 hpcx/2.20
# 8 ranks on the 96 cores of a node; all eight network rails for large messages.
export OMP_NUM_THREADS=12 UCX_MAX_RNDV_RAILS="${UCX_MAX_RNDV_RAILS:-8}"
isaribi_header

read -ra overrides <<<"${OVERRIDES:-}"
ranks="$(wc -l <"$PBS_NODEFILE")"
code=0
isaribi_launch mpirun -np "$ranks" -hostfile "$PBS_NODEFILE" --map-by "ppr:8:node:PE=$OMP_NUM_THREADS" --bind-to core \
  "$(isaribi_program)" train "$DECK" --walltime "$(isaribi_pbs_walltime)" run/dir="$RUN" checkpoint/restart=auto \
  "${overrides[@]}" || code=$?
case "$(isaribi_verdict "$RUN" "$code")" in
  finished) exit 0 ;;
  resubmit) qsub -P "$GROUP" -v "GROUP=$GROUP,DECK=$DECK,RUN=$RUN,OVERRIDES=${OVERRIDES:-}" "$jobscripts/abci3/train.sh" ;;
  *) exit "$code" ;;
esac

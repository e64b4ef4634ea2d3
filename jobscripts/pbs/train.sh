#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# PBS Pro: qsub -v DECK=...,RUN=...[,OVERRIDES="block/key=value ..."] jobscripts/pbs/train.sh
# A job that submits itself again knows only the lines below: put your resources here, not on the command line.
#PBS -N isaribi
#PBS -l select=1:ncpus=32:mpiprocs=4
#PBS -l walltime=01:00:00
#PBS -j oe
#PBS -k oe
#PBS -m n
set -euo pipefail
cd "$PBS_O_WORKDIR"
jobscripts="${ISARIBI_JOBSCRIPTS:-$PWD/jobscripts}"
# shellcheck source=jobscripts/lib.sh
source "$jobscripts/lib.sh"

isaribi_modules /etc/profile.d/modules.sh # names of your site: gcc openmpi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
isaribi_header

read -ra overrides <<<"${OVERRIDES:-}"
code=0
isaribi_launch mpirun --map-by "slot:PE=$OMP_NUM_THREADS" --bind-to core "$(isaribi_program)" train "$DECK" \
  --walltime "$(isaribi_pbs_walltime)" run/dir="$RUN" checkpoint/restart=auto "${overrides[@]}" || code=$?
case "$(isaribi_verdict "$RUN" "$code")" in
  finished) exit 0 ;;
  resubmit) qsub -v "DECK=$DECK,RUN=$RUN,OVERRIDES=${OVERRIDES:-}" "$jobscripts/pbs/train.sh" ;;
  *) exit "$code" ;;
esac

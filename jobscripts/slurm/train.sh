#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Slurm: sbatch jobscripts/slurm/train.sh DECK RUN [block/key=value...]
#SBATCH --job-name=isaribi
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --output=isaribi-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# Two minutes before the limit, to this shell alone, which passes it on.
#SBATCH --signal=B:USR1@120
set -euo pipefail
# shellcheck source=jobscripts/lib.sh
source "${ISARIBI_JOBSCRIPTS:-$SLURM_SUBMIT_DIR/jobscripts}/lib.sh"
deck="$1" run="$2"
shift 2

isaribi_modules /etc/profile.d/modules.sh # names of your site: gcc openmpi
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
export SRUN_CPUS_PER_TASK="$OMP_NUM_THREADS" # srun does not inherit it since Slurm 22.05
isaribi_header

code=0
isaribi_launch srun --cpu-bind=cores "$(isaribi_program)" train "$deck" run/dir="$run" checkpoint/restart=auto "$@" || code=$?
case "$(isaribi_verdict "$run" "$code")" in
  finished) exit 0 ;;
  resubmit) scontrol requeue "$SLURM_JOB_ID" ;;
  *) exit "$code" ;;
esac

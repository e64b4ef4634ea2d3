# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the job scripts share; source it. It sets nothing by itself: every function says what it does, and a site changes
# only its own short script.

# isaribi_say TEXT...: one line of the job's log, with the time.
isaribi_say() { printf '%s isaribi job: %s\n' "$(date '+%F %T')" "$*"; }

# isaribi_modules INIT NAME...: loads environment modules where the site has them; INIT is the file that defines `module`.
isaribi_modules() {
  local init="$1" name
  shift
  if ! command -v module >/dev/null 2>&1 && [ -r "$init" ]; then
    # shellcheck disable=SC1090  # a file of the site
    source "$init"
  fi
  if ! command -v module >/dev/null 2>&1; then
    isaribi_say "no environment modules here; using what is in PATH"
    return 0
  fi
  for name in "$@"; do
    module load "$name" || { isaribi_say "module load $name failed" && return 2; }
  done
}

# isaribi_program: the executable: $ISARIBI, or `isaribi` in PATH, or the one of the build folder.
isaribi_program() {
  echo "${ISARIBI:-$(command -v isaribi || echo build/bin/isaribi)}"
}

# isaribi_single_node_mpi RANKS: settings for RANKS ranks that share the cores of this machine. Existing settings win.
isaribi_single_node_mpi() {
  local ranks="$1" cores threads
  cores="$(nproc)"
  threads=$((cores / ranks))
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
  # Not bound: the ranks' threads may use all cores, and containers often refuse binding. More ranks than cores wait politely.
  export OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"
  export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
  export PRTE_MCA_hwloc_default_binding_policy="${PRTE_MCA_hwloc_default_binding_policy:-none}"
  export PRTE_MCA_rmaps_default_mapping_policy="${PRTE_MCA_rmaps_default_mapping_policy:-:oversubscribe}"
  [ "$ranks" -le "$cores" ] || export OMPI_MCA_mpi_yield_when_idle="${OMPI_MCA_mpi_yield_when_idle:-1}"
  # Docker forbids the system call of Open MPI 4's shared-memory copies.
  [ ! -e /.dockerenv ] || export OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism:-none}"
  if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}

# isaribi_header: what ran where, at the top of the job's log.
isaribi_header() {
  isaribi_say "job ${SLURM_JOB_ID:-${PBS_JOBID:-local}} on $(hostname), OMP_NUM_THREADS=${OMP_NUM_THREADS:-unset}"
  isaribi_say "program $(isaribi_program)"
}

# isaribi_pbs_walltime: HH:MM:SS that this PBS job was given. PBS sends no early signal, so the program is told.
isaribi_pbs_walltime() {
  qstat -f "$PBS_JOBID" | sed -n 's/^ *Resource_List.walltime = *//p'
}

# isaribi_launch COMMAND...: runs it and returns its exit code. USR1 (time is nearly up), TERM and INT (cancelled: the
# verdict will be to stop) reach the launcher as USR1, which it relays to every rank; TERM would make it kill them.
isaribi_launch() {
  local pid code=0 again asked=""
  ISARIBI_CANCELLED=""
  "$@" &
  pid=$!
  # shellcheck disable=SC2064  # the pid of now
  {
    trap "asked=yes; isaribi_tell $pid" USR1
    trap "asked=yes; ISARIBI_CANCELLED=yes; isaribi_tell $pid" TERM INT
  }
  wait "$pid" || code=$?
  # A wait that a signal cut short says 128 + signal; the program is still running then.
  while [ -n "$asked" ] && { [ "$code" -eq 130 ] || [ "$code" -eq 138 ] || [ "$code" -eq 143 ]; }; do
    asked="" again=0
    wait "$pid" || again=$?
    [ "$again" -eq 127 ] || code="$again"
  done
  trap - USR1 TERM INT
  return "$code"
}
isaribi_tell() {
  isaribi_say "stop requested: the program writes a checkpoint"
  kill -USR1 "$1" 2>/dev/null || true
}

# isaribi_status FIELD RUN: the value of a field of RUN/status.json, empty when there is none.
isaribi_status() {
  sed -n 's/^.*"'"$1"'" *: *"\{0,1\}\([^",}]*\).*$/\1/p' "$2/status.json" 2>/dev/null | sed -n 1p
}

# isaribi_verdict RUN CODE: what to do after the program ended with CODE: finished, resubmit or stop. The rule:
# submit again after 75 and after crashes, but only while the run gets further, and at most ISARIBI_MAX_JOBS (100) times;
# never after 2, 3 or 4, which the next job would only repeat, nor after a cancelled job. The count and the step reached are kept in RUN/.jobs.
isaribi_verdict() {
  local run="$1" code="$2" jobs=0 before=0 step
  case "$code" in
    0) echo finished && return ;;
    2 | 3 | 4) echo stop && return ;;
  esac
  if [ -n "${ISARIBI_CANCELLED:-}" ]; then echo stop && return; fi
  if [ -r "$run/.jobs" ]; then read -r jobs before <"$run/.jobs"; fi
  step="$(isaribi_status step "$run")"
  jobs=$((jobs + 1))
  if [ "${step:-0}" -le "$before" ] || [ "$jobs" -ge "${ISARIBI_MAX_JOBS:-100}" ]; then
    isaribi_say "job $jobs ended with $code at step ${step:-0} (the one before reached $before): not submitted again" >&2
    echo stop && return
  fi
  echo "$jobs $step" >"$run/.jobs"
  isaribi_say "job $jobs ended with $code at step $step: submitting again" >&2
  echo resubmit
}

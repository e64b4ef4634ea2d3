#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs fault_program under the launcher and checks how the job ends: in time, with one message that names rank, host
# and phase, and with no process left.
#   fault.sh FAULT RANKS CULPRIT PROGRAM LAUNCHER...
set -u
fault=$1 ranks=$2 culprit=$3 program=$4
shift 4
hang=2
# shellcheck source=tests/mpi/job.sh
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"

start=$(date +%s%N)
timeout -k 5 60 "$@" "$ranks" "$program" "$fault" "$culprit" "$hang" "$token" >"$out" 2>&1 </dev/null &
job=$!
if [ "$fault" = usr1 ]; then
  until grep -q '^watching' "$out"; do sleep 0.05; done
  pkill -USR1 -P "$job" # the launcher, child of timeout; it relays the signal to the ranks
fi
wait "$job"
status=$?
milliseconds=$((($(date +%s%N) - start) / 1000000))

# Hydra (MPICH) kills the survivors of a death at once with SIGKILL: nobody is left to say anything.
speaks=yes
"$1" --version 2>&1 | grep -qi hydra && speaks=no

count() { grep -ac "$1" "$out"; }
where="rank $culprit on [^ ]* (process [0-9]*)"
phase='in phase "backward/conv2" at step 7'
case $fault in
  none | quiet)
    [ "$status" = 0 ] || fail "exit code $status, expected 0"
    [ "$(count '^error:')" = 0 ] || fail "a message although nothing was wrong"
    [ "$(count '^finished')" = 1 ] || fail "did not finish"
    limit=12000
    ;;
  kill | exit)
    [ $speaks = no ] || [ "$(count "^error: $where died $phase")" = 1 ] ||
      fail "not exactly one message that names rank, host and phase"
    limit=5000 # start-up of the launcher included
    ;;
  stop)
    [ "$(count "^error: $where hangs $phase.*is stopped")" = 1 ] || fail "not exactly one message about the stopped rank"
    [ "$status" = 5 ] || fail "exit code $status, expected 5"
    limit=$((hang * 1000 + 5000))
    ;;
  hang)
    [ "$(count "^error: $where hangs $phase")" = 1 ] || fail "not exactly one message about the hanging rank"
    [ "$status" = 5 ] || fail "exit code $status, expected 5"
    limit=$((hang * 1000 + 5000))
    ;;
  desync)
    [ "$(count "^ *bbb  (rank $culprit on")" = 1 ] || fail "the differing rank is not named"
    [ "$status" = 5 ] || fail "exit code $status, expected 5"
    limit=5000
    ;;
  collective)
    [ "$(count "^error: train.h5: damaged (rank $culprit on")" = 1 ] || fail "the error is not there"
    [ "$status" = 3 ] || fail "exit code $status, expected 3"
    limit=5000
    ;;
  usr1)
    [ "$(count "^stopped at step .*signal USR1")" = 1 ] || fail "did not stop at the signal"
    [ "$status" = 75 ] || fail "exit code $status, expected 75"
    limit=5000
    ;;
  throw)
    [ "$(count "^error: rank $culprit: loss is not a number")" = 1 ] || fail "the error of the rank is not there"
    [ "$status" = 4 ] || fail "exit code $status, expected 4"
    limit=5000
    ;;
esac
case $fault in
  none | quiet | usr1) ;;
  *)
    [ "$(count '^error:')" -le 1 ] || fail "more than one message"
    [ "$status" != 0 ] || fail "exit code 0 after a fault"
    ;;
esac
passed "$status" "$milliseconds" "$limit"

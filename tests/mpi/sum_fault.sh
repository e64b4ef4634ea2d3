#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs sum_fault_program and checks how sums end on which ranks do not agree: in time, with exit code 5, and with a
# message that names rank, host and what differs; no process is left.
#   sum_fault.sh FAULT RANKS CULPRIT PROGRAM LAUNCHER...
set -u
fault=$1 ranks=$2 culprit=$3 program=$4
shift 4
limit=2 # seconds that a rank waits for one that has not begun; 2 more for one that does not send
# shellcheck source=tests/mpi/job.sh
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"

start=$(date +%s%N)
timeout -k 5 60 "$@" "$ranks" "$program" "$fault" "$culprit" "$limit" "$token" >"$out" 2>&1 </dev/null
status=$?
milliseconds=$((($(date +%s%N) - start) / 1000000))

count() { grep -acE "$1" "$out"; }
next=$(((culprit + 1) % ranks))
one="rank $culprit on [^ ]+"
other="rank [0-9]+ on [^ ]+"
expected=5 most=2 # both neighbours in the ring of announcements see a difference
case ${fault%+thread} in
  none | late) expected=0 most=0 message='^finished$' ;;
  count) message="^error: ($one begins sum 1 of 601 f32, $other sum 1 of 600 f32|$other begins sum 1 of 600 f32, $one sum 1 of 601 f32), along direct2-" ;;
  longer) message="^error: ($one begins sum 1 of 5000 f32, $other sum 1 of 600 f32|$other begins sum 1 of 600 f32, $one sum 1 of 5000 f32)" ;;
  type) message="^error: ($one begins sum 1 of 600 i32, $other sum 1 of 600 f32|$other begins sum 1 of 600 f32, $one sum 1 of 600 i32)" ;;
  order) message="^error: ($one begins sum 1 of 300 f32, $other sum 1 of 600 f32|$other begins sum 1 of 600 f32, $one sum 1 of 300 f32)" ;;
  parts) message="^error: $other begins reduce_scatter_v 1 of 600 f32 in parts #([0-9]+), $other reduce_scatter_v 1 of 600 f32 in parts #[0-9]+, along direct2-" ;;
  way) message="^error: ($one begins all_gather_v 1 of 600 f32 in parts #[0-9]+, $other reduce_scatter_v 1 of 600|$other begins reduce_scatter_v 1 of 600 f32 in parts #[0-9]+, $one all_gather_v 1 of 600)" ;;
  fewer) most=1 message="^error: rank $next on [^ ]+ waits for sum 2 of 300 f32 along direct2-[a-z0-9]+ for 2 s; $one has not begun it$" ;;
  more) most=1 message="^error: $one waits for sum 3 of 300 f32 along direct2-[a-z0-9]+ for 2 s; $other has not begun it$" ;;
  absent) most=$ranks message="^error: $other waits for sum 0 of 1000 f32 along direct2-[a-z0-9]+ for 4 s; (nothing comes from $one|its messages to $one do not leave)$" ;;
  plan) most=1 message="^ *ring$ranks in segments of 800 bytes, window 2  \($one\)$" ;;
  segment) most=1 message="^ *direct2-.* in segments of 400 bytes, window 2  \($one\)$" ;;
  wire) most=1 message="^ *direct2-.*, bf16 from level 0  \($one\)$" ;;
  places) most=1 message="^ *[0-9]+  \($one\)$" ;;
  *) fail "no such fault" ;;
esac
[ "$status" = $expected ] || fail "exit code $status, expected $expected"
[ "$(count "$message")" -ge 1 ] || fail "no line $message"
[ "$(count '^error:')" -le "$most" ] || fail "more messages than $most"
[ $expected = 0 ] || [ "$(count '^finished')" = 0 ] || fail "finished although ranks disagree"
longest=$((limit * 1000 + 7000)) # start-up of the launcher included
passed "$status" "$milliseconds" "$longest"

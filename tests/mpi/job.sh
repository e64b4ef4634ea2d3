# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the fault tests share, sourced by them: the output of a job, its failure, its end. Sets out and token; expects fault,
# ranks and culprit.
# shellcheck disable=SC2154
token=$(basename "$0" .sh)-$$-$RANDOM
out=$(mktemp)
trap 'rm -f "$out"' EXIT

fail() {
  echo "FAILED ($fault, $ranks ranks, culprit $culprit): $1"
  echo "--- output of the job:"
  cat "$out"
  exit 1
}

# passed STATUS MILLISECONDS LIMIT: in time, and with no process left.
passed() {
  [ "$2" -le "$3" ] || fail "took $2 ms, stated limit $3 ms"
  sleep 0.2
  local left
  left=$(pgrep -f "$token" | wc -l)
  [ "$left" = 0 ] || fail "$left processes are left"
  echo "ok: $fault of rank $culprit of $ranks: exit $1 after $2 ms"
  grep -a "^error:" "$out" || true
}

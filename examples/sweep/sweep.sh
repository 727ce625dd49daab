#!/bin/sh
# A sweep is a loop: start one run for each value without waiting, wait for all, look at what they said.
#   sh examples/sweep/sweep.sh 0.01 0.1 1        options of `runctl train` in TRAIN_OPTIONS, as "--on aws --yes"
set -eu
script="$(dirname "$0")/../single_file/train.py"
runs=""
for rate in "$@"; do
    # shellcheck disable=SC2086 - one word each
    runs="$runs $(runctl train "$script" --detach ${TRAIN_OPTIONS:-} -- --rate "$rate")"
done
failed=0
for run in $runs; do
    runctl attach "$run" >/dev/null || failed=1
done
for run in $runs; do
    echo "$run  $(runctl logs "$run" --tail 1)"
done
exit "$failed"

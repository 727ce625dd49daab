#!/bin/sh
# Runs a command inside a network namespace that has loopback and nothing else: a wrong address fails instead of
# leaving the machine. Needs no root where user namespaces are allowed; says so and goes on where they are not.
set -eu
if unshare --net true 2>/dev/null; then
    exec unshare --net sh -c 'ip link set lo up && exec "$@"' sh "$@"
elif unshare --user --map-root-user --net true 2>/dev/null; then
    exec unshare --user --map-root-user --net sh -c 'ip link set lo up && exec "$@"' sh "$@"
fi
echo "tests: no network namespaces here; running without the wall (the tests themselves talk to loopback only)" >&2
exec "$@"

#!/bin/sh
# Install, once, the Debian packages that some tests run: a real sshd and ssh, shells to be understood by, engines of
# containers, a browser.
# Needs root and apt; elsewhere it says what is missing, and the tests that need it are skipped and say so, too.
set -eu
missing=""
while read -r program package; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing="$missing $package"
done <<EOF
ip iproute2
sshd openssh-server
ssh openssh-client
zsh zsh
fish fish
tcsh tcsh
mksh mksh
podman podman
runc runc
docker-registry docker-registry
openssl openssl
chromium chromium
EOF
test -n "$missing" || exit 0
if test "$(id -u)" != 0 || ! command -v apt-get >/dev/null; then
    echo "tests: not here, so what needs them is skipped:$missing" >&2
    exit 0
fi
echo "installing what some tests run:$missing"
# no service is started for having been installed: https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
policy=/usr/sbin/policy-rc.d
if ! test -e "$policy"; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
apt-get -qq update >/dev/null &&
    # shellcheck disable=SC2086 - one word each
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $missing >/dev/null ||
    echo "tests: could not be installed, so what needs them is skipped:$missing" >&2

"""Programs for the machine as command lines: the one place where something of ours meets a shell or the agent's splitting.

The agent splits a session's command as a shell does and looks up the first word, without a shell; AWS-RunShellScript
gives its lines to `sh`. Both understand POSIX quoting.
"""

from __future__ import annotations

import base64
import functools
import shlex
import zlib
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = "runctl.transports.ssm.machine"
NO_PYTHON = 127  # what `sh` answers when there is no such program

# Modules of ours under their own names, then the last one as the program.
_RUN = """\
import binascii, sys, zlib
told = zlib.decompress(binascii.a2b_base64(sys.argv.pop(1))).decode().split("\\0")
for name, source in zip(told[::2], told[1::2]):
    parts = name.split(".")
    for count in range(1, len(parts)):
        package = ".".join(parts[:count])
        sys.modules.setdefault(package, type(sys)(package)).__path__ = []
    last = name == told[-2]
    module = type(sys)("__main__" if last else name)
    if not last: sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
"""

# Sessions run as ssm-user, who may become root without a password; commands of Run Command run as root already.
_AS_ROOT = """\
if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then exec sudo -n -H -- "$@"; fi
exec "$@"
"""


@functools.cache
def _packed(names: tuple[str, ...]) -> str:
    parts: list[str] = []
    for name in names:
        source = resources.files(PACKAGE) / f"{name}.py"
        parts += (f"{PACKAGE}.{name}", source.read_text(encoding="utf-8"))
    return base64.b64encode(zlib.compress("\0".join(parts).encode(), 9)).decode()


def program(python: str, names: Sequence[str], *words: str) -> list[str]:
    """The argv that runs the last of the modules ``names`` of ``machine/`` with ``words``, as root where that is possible."""
    return ["sh", "-c", _AS_ROOT, "sh", python, "-I", "-S", "-c", _RUN, _packed(tuple(names)), *words]


def line(argv: Sequence[str]) -> str:
    """``argv`` as one line that `sh` and the agent split into exactly these words."""
    return shlex.join(argv)

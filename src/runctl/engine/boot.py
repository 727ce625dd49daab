"""User data for a machine one buys: its deadline first, then the agent out of the store, before any session exists.

Plain ``sh``, at most 16 KiB as EC2 takes them. The shell part arms ``shutdown`` and finds a Python; a small program
that rides along (a few of the agent's own modules, compressed) reads the agent from the bucket with the machine's role,
checks its SHA-256, and hands over to it with the command ``boot``.
"""

from __future__ import annotations

import ast
import base64
import functools
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

from runctl.core.catalogue import known
from runctl.engine.bundle import LOADER, bundle, program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Store

LIMIT: Final = 16384  # bytes of user data, as RunInstances takes them
_UNFIT: Final = 99  # exit status of a Python that cannot do it
HOME: Final = (
    "~/.runctl"  # $RUNCTL_HOME of machines we buy: below the home of whom user data and sessions run as
)
_MODULES: Final = (
    "agent.credentials",
    "agent.failure",
    "agent.metadata",
    "s3.checksum",
    "s3.client",
    "s3.connection",
    "s3.exchange",
    "s3.failure",
    "s3.moments",
    "s3.patience",
    "s3.refusals",
    "s3.signing",
)

# Reads the agent and becomes it. What it needs is in WHAT; what is refused for good is given up after GIVE_UP seconds:
# a role that was made a moment ago is refused, too.
_STUB: Final = """
import hashlib, os, sys, time
from runctl.agent.failure import AgentFailure
from runctl.agent.credentials import Credentials
from runctl.s3.client import S3
GIVE_UP, PAUSE = 180.0, 2.0
store = S3(WHAT["store"]["bucket"], WHAT["store"]["prefix"], WHAT["store"]["region"], keyring=Credentials())
path = os.path.join(os.path.expanduser(WHAT["home"]), "agent", WHAT["agent"] + ".py")
begun = time.time()
def say(text):
    sys.stderr.write("runctl: %s\\n" % text)
    sys.stderr.flush()
def there():
    try:
        with open(path, "rb") as file: return hashlib.sha256(file.read()).hexdigest() == WHAT["agent"]
    except OSError: return False
while not there():
    try:
        source = store.get("agent/%s.py" % WHAT["agent"])
        if hashlib.sha256(source).hexdigest() != WHAT["agent"]: raise AgentFailure("store-corrupt", detail="digest")
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(path + ".tmp", "wb") as file: file.write(source)
        os.replace(path + ".tmp", path)
    except (AgentFailure, OSError) as error:
        why = "%s %s" % (error, getattr(error, "facts", ""))
        if time.time() - begun > GIVE_UP and getattr(error, "code", "") not in ("store-missing", "store-unreachable"):
            sys.exit("runctl: giving up: " + why)
        say(why)
        time.sleep(PAUSE)
say("the agent is here after %.1f s" % (time.time() - begun))
reading, writing = os.pipe()
os.write(writing, ("0 1\\n%s\\n" % WHAT["request"]).encode())
os.close(writing)
os.dup2(reading, 0)
os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", WHAT["loader"], WHAT["agent"], WHAT["home"], "boot"])
"""

_SCRIPT: Final = """\
#!/bin/sh
# Made by runctl for the run {run}, attempt {attempt}.
export PATH="${{PATH:-/usr/bin:/bin}}:/usr/sbin:/sbin:/usr/local/bin" HOME="${{HOME:-/root}}"
shutdown -h +{minutes} || echo "runctl: this machine has no deadline"
[ "$HOME" != / ] || export HOME=/root
boots=/var/lib/cloud/scripts/per-boot
[ "$(dirname "$0")" = $boots ] || [ "$HOME" != /root ] || {{
    mkdir -p $boots && cp "$0" $boots/runctl && chmod 700 $boots/runctl
}}
mkdir -p "$HOME/.runctl"
begin() {{
    umask 077
    for python in python3 /opt/conda/bin/python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do
        "$python" -I -S -c 'import sys
try:
    assert sys.version_info >= (3, 8)
    import base64, ssl, zlib
except Exception: sys.exit({unfit})
exec(zlib.decompress(base64.b85decode("{packed}")))' 2>&1
        status=$?
        [ $status = {unfit} ] || [ $status = 127 ] || return $status
    done
    echo "runctl: no Python 3.8 or later here"
    return 1
}}
{{ begin || {otherwise}; }} 2>&1 | tee -a "$HOME/.runctl/boot.log"
"""


def user_data(
    access: Mapping[str, Any], *, run: str, attempt: int, lease_seconds: int, release: str, home: str = HOME
) -> bytes:
    """The user data that makes a machine run one attempt. Holds no secret: whoever is on the machine can read it.

    Args:
        access: the ``StoreAccess`` of a bucket the machine's role may use.
        run: the run's id.
        attempt: which.
        lease_seconds: the machine shuts down when nothing moves that deadline forward; rounded up to minutes.
        release: what becomes of the machine when the run is over and saved: ``terminate`` (it shuts itself down) or
            ``keep`` (it waits for its deadline).
        home: ``$RUNCTL_HOME`` there.

    Raises:
        UsageError: ``boot-store`` when the store is none a machine elsewhere can reach.
    """
    if access.get("kind") != "s3":
        raise known("boot-store", kind=access.get("kind"))
    request = {
        "v": 1,
        "run": run,
        "attempt": attempt,
        "store": dict(access),
        "lease_seconds": lease_seconds,
        "release": release,
    }
    what = {
        "store": dict(access),
        "agent": bundle().digest,
        "home": home,
        "request": json.dumps(request, separators=(",", ":")),
        "loader": LOADER,
    }
    source = f"WHAT = {what!r}\n{_modules()}{_STUB}".encode()
    text = _SCRIPT.format(
        run=run,
        attempt=attempt,
        minutes=max(1, -(-lease_seconds // 60)),
        unfit=_UNFIT,
        packed=base64.b85encode(zlib.compress(source, 9)).decode(),
        otherwise="shutdown -h now" if release == "terminate" else "echo 'runctl: not started'",
    )
    return text.encode()


@functools.cache
def _modules() -> str:
    """A program that can import the modules it needs, made as small as possible."""
    return program((f"runctl.{name}" for name in _MODULES), _bare)


def _bare(source: str) -> str:
    """A module without its comments, docstrings and types."""
    return ast.unparse(_Bare().visit(ast.parse(source)))


class _Bare(ast.NodeTransformer):
    """Leaves out what only people and checkers read."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            node.body = node.body or [ast.Pass()]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


def send_agent(store: Store, cancel: CancelToken) -> int:
    """Bring the agent into the store, where user data looks for it; bytes sent, 0 when it was there. Safe to repeat."""
    agent = bundle()
    sent = store.put(f"agent/{agent.digest}.py", agent.source, if_absent=True, cancel=cancel)
    return len(agent.source) if sent else 0


def bare_user_data(*, minutes: int) -> bytes:
    """The user data of a machine that only waits: it shuts itself down after ``minutes``. Pure."""
    return f"#!/bin/sh\nshutdown -h +{minutes}\n".encode()

"""Which Python an environment is made from: what the project asks for against what this machine has."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import namedtuple

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

QUERY = (
    "import json,sys;print(json.dumps([list(sys.version_info[:3]),sys.implementation.name,"
    "getattr(sys,'base_prefix',sys.prefix),sys.executable]))"
)


class Interpreter(namedtuple("Interpreter", "path version implementation")):  # noqa: PYI024 - typing costs 5 ms
    """A Python on this machine: absolute path, version as three numbers, implementation (``cpython``)."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def satisfies(version: tuple[int, ...], specifier: str | None) -> bool:
    """Whether three version numbers fit a PEP 440 specifier set such as ``>=3.10,<3.14``.

    Only final releases are compared: interpreters that are installed are final, and a pre-release in a
    ``requires-python`` bound (``<3.14a0``) means its release. Raises ``requires-python-invalid`` on anything else.
    """
    clauses = [clause.strip() for clause in (specifier or "").split(",")]
    return all(_fits(version, clause) for clause in clauses if clause)


def _fits(version: tuple[int, ...], clause: str) -> bool:
    found = re.match(
        r"^(===|==|!=|~=|>=|<=|>|<)\s*v?(\d+(?:\.\d+)*)(\.\*)?(?:[-._]?(?:a|b|rc|dev|post)[-._]?\d*)*$",
        clause,
    )
    if found is None:
        raise AgentFailure("requires-python-invalid", specifier=clause)
    operator, numbers, wild = found.groups()
    want = tuple(int(part) for part in numbers.split("."))
    have = version[: len(want)] if wild else version
    width = max(len(want), len(have))
    left = have + (0,) * (width - len(have))
    right = want + (0,) * (width - len(want))
    if operator == "~=":
        return left >= right and version[: len(want) - 1] == want[:-1]
    return {
        "===": left == right,
        "==": left == right,
        "!=": left != right,
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
        "<": left < right,
    }[operator]


def find_uv() -> str | None:
    """The uv this machine has: on PATH, where its installer puts it, or beside the agent's interpreter."""
    found = shutil.which("uv")
    if found:
        return os.path.abspath(found)
    for folder in ("~/.local/bin", "~/.cargo/bin", os.path.dirname(sys.executable or "")):
        path = os.path.join(os.path.expanduser(folder), "uv")
        if folder and os.access(path, os.X_OK):
            return path
    return None


def choose(specifier: str | None, *, uv: str | None = None) -> Interpreter:
    """The interpreter to make an environment from; read-only.

    In order: the active virtual environment's base and ``python3`` on PATH, the agent's own, other ``pythonX.Y`` on
    PATH (newest first), then those uv manages (nothing is downloaded unless UV_PYTHON_DOWNLOADS says
    ``automatic``). Raises ``python-missing`` naming what was found.
    """
    satisfies((3, 8, 0), specifier)  # a specifier nobody can read is an error before anything is searched
    seen = []
    for path in _candidates():
        found = _look(path)
        if found is None or found in seen:
            continue
        if satisfies(found.version, specifier):
            return found
        seen.append(found)
    managed = _from_uv(uv, specifier) if uv and specifier else None
    if managed is not None and satisfies(managed.version, specifier):
        return managed
    listed = ", ".join("%s (%s)" % (one.text, one.path) for one in seen) or "none"
    raise AgentFailure("python-missing", wanted=specifier or "any Python", found=listed)


def machine_python() -> str:
    """The Python a script without an environment runs with: the active virtual environment's, else PATH's."""
    active = os.environ.get("VIRTUAL_ENV")
    if active and os.access(os.path.join(active, "bin", "python"), os.X_OK):
        return os.path.join(active, "bin", "python")
    return shutil.which("python3") or shutil.which("python") or sys.executable


def _candidates() -> Iterator[str]:
    first = shutil.which("python3")
    if first:
        yield first
    if sys.executable:
        yield sys.executable
    names: set[str] = set()
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        try:
            names.update(name for name in os.listdir(folder or ".") if re.match(r"^python3\.\d+$", name))
        except OSError:
            continue
    for name in sorted(names, key=lambda text: -int(text.split(".")[1])):
        path = shutil.which(name) or ""
        if path:
            yield path


def _look(path: str) -> Interpreter | None:
    """Ask an interpreter about itself; the agent's own, and a link to it, cost no process."""
    path = _base_of(path)
    if os.path.realpath(path) == os.path.realpath(_base_of(sys.executable or "")):
        return Interpreter(os.path.abspath(path), tuple(sys.version_info[:3]), sys.implementation.name)
    answer = _ask([path, "-I", "-S", "-c", QUERY])
    if answer is None or answer[0] < [3, 8]:
        return None
    return Interpreter(os.path.abspath(answer[3] or path), tuple(answer[0]), answer[1])


def _base_of(path: str) -> str:
    """The interpreter a virtual environment was made from: an environment must not hang on another one."""
    config = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(path))), "pyvenv.cfg")
    try:
        with open(config, encoding="utf-8") as lines:
            pairs = [line.partition("=") for line in lines]
    except (OSError, UnicodeDecodeError, ValueError):
        return path
    settings = {key.strip(): value.strip() for key, _, value in pairs}
    version = settings.get("version_info", settings.get("version", "3")).split(".")
    names = ["python" + ".".join(version[:2]), "python3", "python"]
    for name in names:
        base = os.path.join(settings.get("home", ""), name)
        if os.access(base, os.X_OK):
            return base
    return path


def _from_uv(uv: str, specifier: str) -> Interpreter | None:
    argv = [uv, "python", "find", "--no-project", "--system", specifier]
    if os.environ.get("UV_PYTHON_DOWNLOADS", "") != "automatic":
        argv.append("--no-python-downloads")
    path = (_output(argv, timeout=600) or b"").decode(errors="replace").strip()
    return _look(path) if path else None


def _ask(argv: list[str]) -> Any:
    import json  # noqa: PLC0415 - only when an interpreter other than the agent's is asked

    try:
        return json.loads((_output(argv, timeout=10) or b"").decode())
    except ValueError:
        return None


def _output(argv: list[str], *, timeout: float) -> bytes | None:
    import subprocess  # noqa: PLC0415 - as json

    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

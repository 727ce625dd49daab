"""How an environment is made: from a request to a key, an installer and the exact commands. Writes nothing."""

from __future__ import annotations

import hashlib
import os
import sys
import time

from runctl.agent import pip_settings, pythons

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

# The kinds only uv can read: without it on the machine, it is first installed with pip, below $RUNCTL_HOME/tools.
UV_ONLY = ("uv-lock",)


class Place:
    """The paths of one environment, all beside each other in ``envs``."""

    def __init__(self, home: str, key: str) -> None:
        self.key = key
        self.envs = os.path.join(home, "envs")
        self.folder = os.path.join(self.envs, key)
        self.marker = os.path.join(self.folder, ".runctl.json")
        self.python = os.path.join(self.folder, "bin", "python")
        self.lock = self.folder + ".lock"
        self.log = self.folder + ".log"
        self.pip_log = self.folder + ".pip.log"
        self.state = self.folder + ".state.json"
        self.waiting = self.folder + ".waiting"
        self.requirements = self.folder + ".requirements.txt"
        self.tools = os.path.join(home, "tools")

    def site_packages(self) -> str:
        """Where packages go; the folder exists once the bare environment does."""
        lib = os.path.join(self.folder, "lib")
        for name in sorted(os.listdir(lib)):
            found = os.path.join(lib, name, "site-packages")
            if os.path.isdir(found):
                return found
        raise FileNotFoundError(os.path.join(lib, "python3", "site-packages"))


class Recipe:
    """A request, decided for this machine. Raises ``python-missing`` or ``requires-python-invalid`` when made."""

    def __init__(self, request: dict[str, Any], *, home: str) -> None:
        self.request = request
        self.kind: str = request["kind"]
        wanted = request.get("installer") or "auto"  # the user's choice
        self.uv = pythons.find_uv() if wanted != "pip" else None
        self.interpreter = pythons.choose(request.get("python"), uv=self.uv)
        self.place = Place(home, env_key(request, self.interpreter))
        self.needs_uv = self.uv is None and (
            self.kind in UV_ONLY or (self.kind != "requirements" and request.get("requirements") is None)
        )

    @property
    def installer(self) -> str:
        """``uv`` or ``pip``."""
        return "uv" if self.uv or self.needs_uv else "pip"

    @property
    def main(self) -> str:
        """The file that decides, as a project path."""
        return str(self.request["files"][0])

    def record(self, *, installer: str, packages: int, seconds: float, **more: Any) -> dict[str, Any]:
        """What the marker of a complete environment says. ``seconds``: what building it took, wherever that was."""
        return {
            "v": 1,
            "key": self.place.key,
            "kind": self.kind,
            "request": self.request["digest"],
            "source": self.main,
            "python": self.interpreter.text,
            "platform": platform(),
            "libc": libc(),
            "base": self.interpreter.path,
            "installer": installer,
            "packages": packages,
            "seconds": round(seconds, 3),
            "created_at": time.time(),
            **more,
        }

    def commands(self, code: str) -> list[list[str]]:
        """Every command a build runs, in order, for a plan."""
        fetch = [self.get_uv()] if self.needs_uv else []
        install = self.install_command(code)
        return [*fetch, self.bare_command(), *([install] if install else [])]

    def install_command(self, code: str, *, pip: list[str] | None = None) -> list[str]:
        """The command that installs; empty when there is nothing to install. ``pip``: the one found, where it is used."""
        uv = self.uv or self.tool_uv
        if self.kind == "uv-lock":
            return self._uv_sync(uv, code)
        file = self._lines_file(code)
        if not file:
            return []
        if self.installer == "uv":
            flags = pip_settings.uv_flags(os.environ)
            return [uv, "pip", "install", *flags, "--python", self.place.python, "-r", file]
        pip = pip or [self.interpreter.path, "-m", "pip", "--python", self.place.python]
        return [*pip, "install", "--no-input", "--disable-pip-version-check", "-r", file]

    @property
    def tool_uv(self) -> str:
        """Where a uv lands that had to be fetched."""
        return os.path.join(self.place.tools, "uv-" + "%d.%d" % self.interpreter.version[:2], "bin", "uv")

    def get_uv(self) -> list[str]:
        """The command that fetches uv with the machine's pip."""
        target = os.path.dirname(os.path.dirname(self.tool_uv))
        return [
            self.interpreter.path,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--upgrade",
            "--target",
            target,
            "uv",
        ]

    def bare_command(self) -> list[str]:
        """The command that makes the environment without any package, in well under a second."""
        if self.installer == "uv":
            uv, base = self.uv or self.tool_uv, self.interpreter.path
            return [uv, "venv", "--quiet", "--no-project", "--no-config", "--python", base, self.place.folder]
        return [self.interpreter.path, "-m", "venv", "--without-pip", self.place.folder]

    def _uv_sync(self, uv: str, code: str) -> list[str]:
        """Exactly the lock, without the project and its local parts: their code differs from run to run.

        ``--python`` names the environment's own: uv would otherwise replace an environment that a patch number in
        ``.python-version`` does not fit. ``--inexact`` leaves the gate's file alone.
        """
        project = os.path.dirname(os.path.join(code, self.request.get("project") or self.main))
        out = [uv, "sync", "--frozen", "--inexact", "--no-install-project", "--no-install-workspace"]
        out += ["--python", self.place.python, "--project", project]
        for name in self.request.get("exclude") or ():
            out += ["--no-install-package", name]
        return out

    def _lines_file(self, code: str) -> str:
        """The file given to ``-r``: the project's own where the installer can read it; empty: nothing to install."""
        lines = self.request.get("requirements")
        own = os.path.join(code, self.main)
        if self.kind == "requirements":
            return self.place.requirements if lines or self.request.get("skip") else own
        if self.installer == "uv" and (lines is None or self.request.get("sources")):
            return own
        return self.place.requirements if lines else ""


def env_key(request: dict[str, Any], interpreter: pythons.Interpreter) -> str:
    """The name of the environment: 32 hex digits (128 bits) over what decides its content, whoever installs it.

    Short, because the first line of every console script holds the path and kernels cut it at 127 or 255 bytes.
    """
    parts = (
        "runctl-env-1",
        interpreter.implementation,
        interpreter.text,
        platform(),
        libc(),
        str(request["kind"]),
        str(request["digest"]),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def write_requirements(recipe: Recipe, code: str) -> None:
    """Write the file ``commands`` names where the project has none that fits; readable by the owner only.

    Includes are written out, because lines for the project itself are left out; constraints stay where they are.
    """
    request = recipe.request
    lines = list(request.get("requirements") or ())
    if recipe.kind == "requirements":
        lines = flatten(code, recipe) + lines
    fd = os.open(recipe.place.requirements, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(line + "\n" for line in lines)


def flatten(code: str, recipe: Recipe) -> list[str]:
    """The lines of a requirements file with its includes written out, without those the request skips."""
    return _flatten(code, recipe.main, recipe.request.get("skip") or {})


def _flatten(code: str, path: str, skip: dict[str, list[int]]) -> list[str]:
    import re  # noqa: PLC0415 - a probe does not need it

    out = []
    folder = os.path.dirname(path)
    with open(os.path.join(code, path), encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file.read().splitlines(), 1):
            found = re.match(r"^\s*(-r|--requirement|-c|--constraint)(?:\s+|=|(?<=-[rc]))\s*(\S+)", line)
            if number in skip.get(path, ()):
                continue
            if found and "://" not in found.group(2):
                target = os.path.normpath(os.path.join(folder, found.group(2)))
                if found.group(1) in ("-r", "--requirement"):
                    out += _flatten(code, target, skip)
                else:
                    out.append("-c " + os.path.join(code, target))
            else:
                out.append(line)
    return out


def platform() -> str:
    """System and processor, as ``Linux-x86_64``."""
    system = os.uname()
    return "%s-%s" % (system.sysname, system.machine)


def libc() -> str:
    """The C library and its version."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "libc"
    except (ValueError, OSError):
        return "musl" if sys.platform.startswith("linux") else sys.platform

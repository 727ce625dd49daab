"""Builds an environment at its final place: bare, then installed, then marked complete."""

from __future__ import annotations

import os
import re
import shutil
import time

from runctl.agent import env_recipe, install_process, pip_settings
from runctl.agent.failure import AgentFailure
from runctl.agent.home import free_bytes, make_folder, remove_tree, write_json
from runctl.agent.install_errors import Verdict, classify
from runctl.agent.masking import mask

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from runctl.agent.env_recipe import Recipe
    from runctl.agent.env_story import Story

RETRY_AFTER = (
    2.0,
    8.0,
)  # seconds before the second and third attempt; uv and pip retry single requests themselves
ENSUREPIP = "import ensurepip"
PIP_VERSION = "import pip; print(pip.__version__)"
ANY_ENVIRONMENT = (22, 3)  # the first pip that installs into another Python's environment (--python)
GATE_PTH = (
    "_runctl_gate.pth"  # removed when complete; the module stays, for a process that starts at that moment
)
RAW_PROGRESS = (24, 1)  # the first pip that prints "Progress a of b" to a pipe


class Builder:
    """One build of one environment, under its lock. ``lock`` is the locked descriptor, inherited by installers."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        code: str,
        story: Story,
        lock: int,
        cancelled: Callable[[], bool],
        retry_after: Sequence[float] = RETRY_AFTER,
        more: Mapping[str, Any] = {},
        cache: str = "",
    ) -> None:
        """``more`` goes into the environment's marker; ``cache`` is where installers keep what they fetched."""
        self.recipe = recipe
        self.place = recipe.place
        self.story = story
        self._code = code
        self._lock = lock
        self._cancelled = cancelled
        self._retry_after = retry_after
        self._more = more
        self._cache = cache
        self._began = time.monotonic()
        self._cwd = os.path.dirname(os.path.join(code, recipe.main))
        self._env = self._variables()
        self._raw = False  # whether the pip in use prints raw progress

    @property
    def cached(self) -> bool:
        """Whether installers work with the cache they were given."""
        return bool(self._cache)

    def bare(self) -> None:
        """Remove what a killed build left, and make the environment without packages.

        Raises ``venv-unavailable``, ``disk-full``, ``install-failed``.
        """
        remove_tree(self.place.folder)
        shutil.rmtree(self.place.waiting, ignore_errors=True)
        if self.recipe.needs_uv and not os.access(self.recipe.tool_uv, os.X_OK):
            self.story.notice(
                "%s needs uv, which this machine lacks: fetching it with pip" % self.recipe.main
            )
            self._run(self.recipe.get_uv(), installer="pip")
        argv = self.recipe.bare_command()
        code = self._once(argv, installer="venv")
        if code != 0:
            raise self._venv_failure(argv)
        env_recipe.write_requirements(self.recipe, self._code)

    def gate(self) -> None:
        """Let the environment be used while it is being installed: imports of what is missing will wait."""
        from runctl.agent import gate, gate_installed  # noqa: PLC0415 - only with --deps background

        site = self.place.site_packages()
        bare = {item.partition(".")[0] for item in os.listdir(site)}
        self.story.names(self._direct_names(), bare=bare)
        self.story.write_state(state="installing")
        make_folder(os.path.join(site, "_runctl_gate"))
        files = {"_runctl_gate/__init__.py": ""}
        for module in (gate, gate_installed):
            loader: Any = module.__loader__  # the agent's own, or the file system's: both give the source
            files["_runctl_gate/%s.py" % module.__name__.rpartition(".")[2]] = loader.get_source(
                module.__name__
            )
        files[GATE_PTH] = "import _runctl_gate.gate; _runctl_gate.gate.activate()\n"
        for name, text in files.items():
            with open(os.path.join(site, name), "w", encoding="utf-8") as file:
                file.write(text)

    def install(self) -> None:
        """Install everything; raises ``AgentFailure`` with the installer's reason, ``cancelled`` when asked to stop."""
        argv = self.recipe.install_command(self._code)
        if argv and self.recipe.installer == "pip":
            argv = self.recipe.install_command(self._code, pip=self._pip())
        if argv:
            self._run(argv, installer=self.recipe.installer)
        self.story.flush()
        self._finish(time.monotonic() - self._began)

    def fail(self, failure: AgentFailure) -> None:
        """Tell the gate why: an import that waits ends with the installer's reason."""
        reason = str(failure.facts.get("reason") or failure.code)
        self.story.write_state(state="failed", reason=mask(reason))

    # Commands.

    def _run(self, argv: list[str], *, installer: str) -> None:
        """Run one command; what fails for the network's sake is tried again, after a while."""
        for delay in (*self._retry_after, None):
            if self._once(argv, installer=installer) == 0:
                return
            verdict = classify(self.story.lines, cut=self.story.progress.cut)
            if installer == "pip" and verdict.code == "package-not-found":
                if self._look_again(argv) == 0:
                    return
                verdict = classify(self.story.lines, skipped=self._skipped_pages())
            if verdict.code == "disk-full" and self._cache:
                self._leave_cache()
                if self._once(argv, installer=installer) == 0:
                    return
                verdict = classify(self.story.lines, cut=self.story.progress.cut)
            if not verdict.transient or delay is None:
                raise self._failure(verdict, argv)
            self.story.notice(
                "%s; trying again in %d s" % (verdict.reason.splitlines()[0].strip(), delay), "warning"
            )
            deadline = time.monotonic() + delay
            while time.monotonic() < deadline:
                if self._cancelled():
                    raise AgentFailure("cancelled", step="environment")
                time.sleep(0.05)

    def _leave_cache(self) -> None:
        """Go on with the installers' own caches: the one that was given may be what is full."""
        self.story.notice("no room left; trying again without the cache volume", "warning")
        self._cache = ""
        self._env = self._variables()

    def _look_again(self, argv: list[str]) -> int:
        """Run pip once more with a log: on the screen, an index that does not answer looks like a missing package.

        (The log is not kept from the start, because pip then hides the output of failing builds.)
        """
        _unlink(self.place.pip_log)
        self._env["PIP_LOG"] = self.place.pip_log
        try:
            return self._once(argv, installer="pip")
        finally:
            del self._env["PIP_LOG"]

    def _once(self, argv: list[str], *, installer: str) -> int:
        began = time.monotonic()
        code = None
        self.story.begin()
        try:
            code = install_process.run(
                self._with_progress(argv),
                cwd=self._cwd,
                env=self._env,
                terminal=installer == "uv" or (installer == "pip" and not self._raw),
                keep_open=self._lock,
                on_start=self.story.started,
                on_text=lambda text, stays: self.story.text(text, stays=stays, installer=installer),
                on_tick=self.story.tick,
                cancelled=self._cancelled,
            )
            return code
        finally:
            self.story.command(argv, time.monotonic() - began, code)

    def _skipped_pages(self) -> list[str]:
        """What pip's own log says about pages of the index it could not fetch."""
        try:
            with open(self.place.pip_log, encoding="utf-8", errors="replace") as file:
                return [mask(line.strip()) for line in file if "Could not fetch URL" in line]
        except OSError:
            return []

    def _with_progress(self, argv: list[str]) -> list[str]:
        return [*argv, "--progress-bar", "raw"] if self._raw and "install" in argv and "pip" in argv else argv

    def _pip(self) -> list[str]:
        """The pip to install with: the base Python's when it can reach into the environment, else one put in it."""
        base, inside = self.recipe.interpreter.path, self.place.python
        found = _version(_ask([base, "-c", PIP_VERSION]))
        if found >= ANY_ENVIRONMENT:
            self._raw = found >= RAW_PROGRESS
            return [base, "-m", "pip", "--python", inside]
        if _ask([base, "-I", "-c", ENSUREPIP]) is None:
            version = "%d.%d" % self.recipe.interpreter.version[:2]
            raise AgentFailure(
                "venv-unavailable", python=base, version=version, detail="neither pip nor ensurepip"
            )
        argv = [inside, "-I", "-m", "ensurepip", "--default-pip"]
        if self._once(argv, installer="venv") != 0:
            raise self._venv_failure(argv)
        self._raw = _version(_ask([inside, "-c", PIP_VERSION])) >= RAW_PROGRESS
        return [inside, "-m", "pip"]

    def _venv_failure(self, argv: list[str]) -> AgentFailure:
        verdict = classify(self.story.lines)
        if verdict.code == "disk-full":
            return self._failure(verdict, argv)
        version = "%d.%d" % self.recipe.interpreter.version[:2]
        return AgentFailure(
            "venv-unavailable", python=self.recipe.interpreter.path, version=version, detail=verdict.reason
        )

    def _failure(self, verdict: Verdict, argv: list[str]) -> AgentFailure:
        if verdict.code == "disk-full":
            facts = {"path": self.place.folder, "free_bytes": free_bytes(self.place.envs)}
            return AgentFailure("disk-full", reason=verdict.reason, log=self.place.log, **facts)
        return AgentFailure(
            verdict.code,
            reason=verdict.reason,
            package=verdict.package,
            source=self.recipe.main,
            installer=self.recipe.installer,
            python=self.recipe.interpreter.text,
            command=" ".join(mask(each) for each in argv),
            log=self.place.log,
        )

    # The edges of the build.

    def _finish(self, seconds: float) -> None:
        """Open the gate for good, then mark the environment complete: the very last thing written."""
        _unlink(os.path.join(self.place.site_packages(), GATE_PTH))
        _unlink(self.place.requirements)
        _unlink(self.place.pip_log)
        record = self.recipe.record(
            installer=self.recipe.installer,
            packages=self.story.progress.installed,
            seconds=seconds,
            **self._more,
        )
        write_json(self.place.marker, record)
        _unlink(self.place.state)

    def _direct_names(self) -> list[str]:
        lines = self.recipe.request.get("requirements") or []
        if self.recipe.kind == "requirements":
            lines = env_recipe.flatten(self._code, self.recipe) + lines
        found = [re.match(r"^\s*([A-Za-z0-9][\w.-]*)", line) for line in lines]
        return sorted({re.sub(r"[-_.]+", "-", one.group(1)).lower() for one in found if one})

    def _variables(self) -> dict[str, str]:
        """The installer's environment: the machine's, without what would send packages elsewhere or ask questions."""
        env = dict(os.environ)
        for name in (
            "PIP_TARGET",
            "PIP_PREFIX",
            "PIP_USER",
            "PIP_ROOT",
            "PYTHONHOME",
            "PYTHONPATH",
            "VIRTUAL_ENV",
            "UV_PYTHON",
        ):
            env.pop(name, None)
        env.update(
            NO_COLOR="1", TERM="xterm", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", RUNCTL_GATE="off"
        )
        env["COLUMNS"] = str(install_process.WIDTH)
        if self._cache:
            env.update(
                UV_CACHE_DIR=os.path.join(self._cache, "uv"),
                UV_LINK_MODE="copy",  # no link leads from one file system into another
                PIP_CACHE_DIR=os.path.join(self._cache, "pip"),
            )
            env.pop("UV_NO_CACHE", None)
            env.pop("PIP_NO_CACHE_DIR", None)
        if self.recipe.installer == "uv":
            added = pip_settings.for_uv(env)
            if added:
                self.story.notice("uv is given pip's settings of this machine: %s" % ", ".join(sorted(added)))
                env.update(added)
            env["UV_PROJECT_ENVIRONMENT"] = self.place.folder
        return env


def _ask(argv: list[str]) -> str | None:
    """What a short question to a Python prints; None when it fails."""
    import subprocess  # noqa: PLC0415 - loaded by then

    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _version(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text or "0")[:2])


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass

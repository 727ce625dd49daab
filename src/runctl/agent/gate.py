"""The import gate: makes an import of a package that is still being installed wait for it.

This file is copied into the environment as ``_runctl_gate/gate.py`` and activated there by a ``.pth`` file, in every Python
process of the environment, while its installation runs. It therefore imports nothing of runctl, and at activation
nothing but what the interpreter has loaded anyway. Around the environment's folder ENV it reads::

    ENV/.runctl.json        exists: complete, the gate opens for good and removes itself
    ENV.state.json          {"state": "installing" | "failed", "builder": [pid, start], "reason", "names": [...], "bare": [...]}
    ENV.waiting/PID-N       written by the gate: the name an import waits for; the installer tells it as an event

A distribution may be imported when it and everything it requires is in place (``gate_installed``). A package that is
half written is never looked at, because this finder answers before any other.
"""

from __future__ import annotations

import _thread
import os
import sys
import time

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import FrameType, ModuleType
    from typing import Any

POLL = 0.05  # seconds between two looks while an import waits
OFF = "RUNCTL_GATE"  # set to "off" for the installer itself, which must never wait for what it installs
# Looked for by the interpreter or the standard library itself, never a dependency.
NEVER = frozenset(
    [
        "sitecustomize",
        "usercustomize",
        "_runctl_gate",
        "org",
        "java",
        "nt",
        "ce",
        "_winapi",
        "winreg",
        "msvcrt",
        "_scproxy",
        "vms_lib",
        "_dummy_threading",
        "apport_python_hook",
        "dummy_threading",
        "riscos",
        "riscosenviron",
        "_manylinux",
        "__main__",
        "__mp_main__",
        "distutils",
    ]
)


def activate() -> None:
    """Put the gate in front of all finders of this process, unless the environment is complete."""
    site = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    gate = Gate(site, os.path.abspath(sys.prefix))
    if os.environ.get(OFF) != "off" and not os.path.exists(gate.done):
        sys.meta_path.insert(0, gate)


class Gate:
    """A finder that finds nothing itself: it answers when the others may look."""

    def __init__(self, site: str, env: str) -> None:
        self.site = os.path.realpath(site)
        self.done = os.path.join(env, ".runctl.json")
        self.state = env + ".state.json"
        self.waiting = env + ".waiting"
        self.index: dict[
            str, tuple[set[str], set[str]]
        ] = {}  # in place: name → (its modules, the names it requires)
        self.inside: set[int] = (
            set()
        )  # threads that are in the gate: what the gate itself imports does not wait
        self.count = 0

    # What the import system calls.

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None when the other finders may look for ``name`` now; waits before if it is still being installed.

        Raises ModuleNotFoundError with the installer's reason when the installation failed and it is not there.
        """
        thread = _thread.get_ident()
        if self._open() or thread in self.inside:
            return None
        self.inside.add(thread)
        try:
            return self._answer(name, path)
        finally:
            self.inside.discard(thread)

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """For ``importlib.metadata``: a question about one distribution waits for it; the others then answer."""
        name = getattr(context, "name", None)
        thread = _thread.get_ident()
        if name and thread not in self.inside and not self._open():
            self.inside.add(thread)
            try:
                self._wait(name, lambda: self._complete(_normal(name), set()))
            finally:
                self.inside.discard(thread)
        return iter(())

    def invalidate_caches(self) -> None:
        """Nothing is cached that could be stale."""

    # Whether it concerns us.

    def _answer(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        top = name.partition(".")[0]
        if top in NEVER or top in getattr(sys, "stdlib_module_names", ()):
            return None
        if top in (self._read().get("bare") or ()):
            return None  # came with the bare environment
        if path is None:
            elsewhere = self._elsewhere(name)
            if elsewhere is not None:
                return elsewhere[0]
        elif self._not_ours(name, path):
            return None
        why = self._wait(name, lambda: self._importable(name))
        if why and not _is_query():
            raise ModuleNotFoundError(
                "No module named %r: the installation failed: %s" % (name, why), name=name
            )
        return None

    def _open(self) -> bool:
        if not os.path.exists(self.done):
            return False
        if self in sys.meta_path:
            # A new list: the import that asks is walking along the old one and must not skip its next finder.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]
            import importlib
            import site

            importlib.invalidate_caches()
            site.addsitedir(self.site)  # .pth files of what was installed meanwhile
        return True

    def _elsewhere(self, name: str) -> tuple[ModuleSpec | None] | None:
        """``(spec or None,)`` when ``name`` comes from outside the environment, or is built in; None when it may be ours."""
        from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

        if BuiltinImporter.find_spec(name) is not None or FrozenImporter.find_spec(name) is not None:
            return (None,)
        ours = [os.path.realpath(entry or ".") == self.site for entry in sys.path]
        first = ours.index(True) if True in ours else len(ours)
        before = PathFinder.find_spec(name, sys.path[:first])
        if before is not None and before.origin not in (None, "namespace"):
            return (None,)
        after = PathFinder.find_spec(name, sys.path[first + 1 :])
        if after is not None and after.origin not in (None, "namespace"):
            return None if _normal(name) in self._names() else (after,)
        folder = before or after
        if folder is not None and _normal(name) not in self._names() and _holds_python(folder):
            return (None,)
        return None

    def _not_ours(self, name: str, path: Iterable[str]) -> bool:
        """Whether a submodule's package is outside the environment, or is a whole package that was let in."""
        inside = any(os.path.realpath(entry).startswith(self.site + os.sep) for entry in path)
        parent = sys.modules.get(name.rpartition(".")[0])
        return not inside or getattr(parent, "__file__", None) is not None

    # Waiting.

    def _wait(self, name: str, ready: Callable[[], bool]) -> str | None:
        """Wait until ``ready()`` or the end of the installation; the reason when it failed, else None."""
        mark, held = None, 0
        try:
            while not ready():
                state = self._read()
                if self._open():
                    return None
                if state.get("state") == "failed":
                    return state.get("reason") or "see the run's events"
                if not _alive(state.get("builder")):
                    return None if self._open() else "it was ended before it was complete"
                if mark is None:
                    mark = self._say(name)
                    held = _release_import_lock()
                time.sleep(POLL)
            return None
        finally:
            _take_import_lock(held)
            if mark:
                _unlink(mark)
            sys.path_importer_cache.pop(self.site, None)  # what was written since must be seen

    def _say(self, name: str) -> str:
        self.count += 1
        path = os.path.join(self.waiting, "%d-%d" % (os.getpid(), self.count))
        try:
            os.makedirs(self.waiting, 0o700, exist_ok=True)
            with open(path + ".tmp", "w") as file:
                file.write(name)
            os.replace(path + ".tmp", path)
        except OSError:
            pass
        return path

    def _read(self) -> dict[str, Any]:
        import json

        try:
            with open(self.state) as file:
                return dict(json.load(file))
        except (OSError, ValueError):
            return {}

    def _names(self) -> list[str]:
        return list(self._read().get("names") or ())

    # What is in place.

    def _importable(self, name: str) -> bool:
        owners = [dist for dist, (modules, _) in self._in_place().items() if name in modules]
        return any(self._complete(dist, set()) for dist in owners)

    def _complete(self, dist: str, seen: set[str]) -> bool:
        """Whether a distribution and all it requires here is in place."""
        if dist in seen:
            return True
        seen.add(dist)
        found = self._in_place().get(dist)
        return found is not None and all(self._complete(need, seen) for need in found[1])

    def _in_place(self) -> dict[str, tuple[set[str], set[str]]]:
        from . import gate_installed

        try:
            listed = os.listdir(self.site)
        except OSError:
            listed = []
        for item in listed:
            dist = gate_installed.normal(item.partition("-")[0])
            if item.endswith(".dist-info") and dist not in self.index:
                found = gate_installed.read_distribution(os.path.join(self.site, item))
                if found is not None:
                    self.index[dist] = found
        return self.index


def _holds_python(spec: ModuleSpec) -> bool:
    """Whether a folder without ``__init__`` is the project's code rather than, say, a folder of logs."""
    for folder in spec.submodule_search_locations or []:
        try:
            if any(item.endswith((".py", ".so")) for _, _, items in os.walk(folder) for item in items):
                return True
        except OSError:
            continue
    return False


def _is_query() -> bool:
    """Whether the question is ``importlib.util.find_spec``, which answers None rather than raise."""
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - the one way to know who asks
    while frame is not None and frame.f_code.co_filename.startswith("<frozen importlib._bootstrap"):
        frame = frame.f_back
    name = frame.f_code.co_filename if frame is not None else ""
    return name.replace(os.sep, "/").endswith("importlib/util.py") or name == "<frozen importlib.util>"


def _alive(process: list[Any] | None) -> bool:
    """Whether [pid, start] is still that process; without /proc the number alone decides."""
    if not process:
        return True
    pid, start = process[0], process[1]
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0] != b"Z" and (start is None or int(fields[19]) == start)
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return False
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _release_import_lock() -> int:
    """Give the interpreter's import lock back while waiting, so that other threads can import; how often it was held."""
    import _imp

    held = 0
    while True:
        try:
            _imp.release_lock()
        except RuntimeError:
            return held
        held += 1


def _take_import_lock(held: int) -> None:
    import _imp

    for _ in range(held):
        _imp.acquire_lock()


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _normal(name: str) -> str:
    from . import gate_installed

    return gate_installed.normal(name)

"""The agent as one file: every module of ``runctl.agent`` and of what it stands on in a dictionary, and a loader.

The file is the same, byte for byte, wherever it is made from the same sources, so its SHA-256 is its name. Modules
keep their names and are compiled only when something imports them: a small command starts as fast as a small program.
What a command had to compile it keeps beside the agent, for the next one, under the magic number of that Python's code.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.resources.abc import Traversable

PACKAGES = ("agent", "formats", "s3")

# What ``python -c`` gets. It has to be understood by any Python 3, so that an old one can say that it is too old;
# stdin is read byte by byte up to the first newline and then exactly N bytes, so the command finds its own input.
LOADER = """\
import os, sys
digest, home = sys.argv[1], os.path.expanduser(sys.argv[2] or "~/.runctl")
if sys.version_info < (3, 8):
    print('{"error":{"code":"machine-python-too-old","facts":{"python":"%d.%d.%d"}}}' % sys.version_info[:3])
    sys.exit(1)
import _frozen_importlib_external as outer, marshal
try: from _sha2 import sha256
except ImportError:
    try: from _sha256 import sha256
    except ImportError: from hashlib import sha256
def take(count):
    parts = []
    while count:
        part = os.read(0, min(count, 1 << 20))
        if not part: sys.exit(91)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
def intact(source): return sha256(source).hexdigest() == digest
def save(data, path):
    for folder in (home, os.path.dirname(path)): os.makedirs(folder, 0o700, exist_ok=True)
    part = "%s.%d.tmp" % (path, os.getpid())
    try:
        with open(part, "wb") as file: file.write(data)
        os.replace(part, path)
    except OSError:
        try: os.unlink(part)
        except OSError: pass
def save_compiled():
    if made and keep:
        modules = dict(compiled)
        modules.update((name, marshal.dumps(code)) for name, code in made.items())
        data = marshal.dumps((whole, modules))
        save(sha256(data).digest() + data, quick)
def find():
    try:
        with open(quick, "rb") as file: data = file.read()
        if sha256(data[32:]).digest() == data[:32]: return marshal.loads(data[32:])
    except OSError: pass
    try:
        with open(path, "rb") as file: source = file.read()
    except OSError: sys.exit(90)
    if intact(source): return compile(source, path, "exec"), {}
    os.unlink(path)
    sys.exit(90)
path = os.path.join(home, "agent", digest + ".py")
quick = "%s.%s" % (path[:-3], outer.MAGIC_NUMBER.hex())
made, line = {}, b""
while line[-1:] != b"\\n": line += take(1)
size, keep = map(int, line.split())
if size:
    import zlib
    try: source = zlib.decompress(take(size))
    except zlib.error: sys.exit(92)
    if not intact(source): sys.exit(92)
    if keep and not os.path.exists(path):
        try: save(source, path)
        except OSError: pass
    whole, compiled = compile(source, path, "exec"), {}
else: whole, compiled = find()
exec(whole, {"__name__": "__main__", "DIGEST": digest, "HOME": home, "COMPILED": compiled, "MADE": made,
    "SAVE": save_compiled})
"""

_FINDER = """\
import marshal, sys
from _frozen_importlib import ModuleSpec

SOURCES = {sources}
COMPILED, MADE = globals().get("COMPILED", {}), globals().get("MADE", {})  # the loader's, where there is one


class Finder:
    # Finds the modules above; compiles one when it is imported, unless an earlier command did.

    def find_spec(self, name, path=None, target=None):
        if name not in SOURCES:
            return None
        return ModuleSpec(name, self, origin=SOURCES[name][0], is_package=SOURCES[name][0].endswith("/__init__.py"))

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        file, source = SOURCES[module.__name__]
        module.__file__ = file
        code = COMPILED.get(module.__name__)
        if code is None:
            code = MADE[module.__name__] = compile(source, file, "exec")
        else:
            code = marshal.loads(code)
        exec(code, module.__dict__)

    def get_source(self, name):
        return SOURCES[name][1]


sys.meta_path.insert(0, Finder())
sys.dont_write_bytecode = True
"""
_MAIN = """\
from runctl.agent.main import main

main(sys.argv[3:], home=HOME, digest=DIGEST, ending=globals().get("SAVE", int))
"""


@dataclass(frozen=True)
class Bundle:
    """The agent's one file and its name: the SHA-256 (hex) of its bytes."""

    digest: str
    source: bytes

    @functools.cached_property
    def packed(self) -> bytes:
        """As it travels: compressed by zlib, which every Python has."""
        return zlib.compress(self.source)


@functools.cache
def bundle() -> Bundle:
    """Make the agent's file from the installed sources; made once in a process, safe to call from several threads.

    It is kept where Python keeps compiled modules, until one of the sources is another file: making it takes 13 ms.
    """
    mark = _mark()
    kept = _read(mark) if mark else None
    source = (_finder(_sources()) + _MAIN).encode() if kept is None else kept
    if mark and kept is None:
        _keep(mark + hashlib.sha256(source).digest() + source)
    return Bundle(hashlib.sha256(source).hexdigest(), source)


_KEPT = Path(__file__).parent / "__pycache__" / "agent.bundle"


def _mark() -> bytes:
    """What the sources are, by their names, sizes and times; empty where they are no files."""
    root = Path(__file__).parents[1]
    if not root.is_dir():
        return b""
    found = [(__file__, (own := os.stat(__file__)).st_size, own.st_mtime_ns)]
    for package in PACKAGES:
        for folder, _, names in os.walk(root / package):
            paths = [os.path.join(folder, name) for name in names if name.endswith(".py")]
            found += [(path, (state := os.stat(path)).st_size, state.st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(sorted(found)).encode()).digest()


def _read(mark: bytes) -> bytes | None:
    try:
        data = _KEPT.read_bytes()
    except OSError:
        return None
    source = data[64:]
    return source if data[:64] == mark + hashlib.sha256(source).digest() else None


def _keep(data: bytes) -> None:
    if sys.dont_write_bytecode:
        return
    with contextlib.suppress(OSError):
        _KEPT.parent.mkdir(exist_ok=True)
        part = _KEPT.with_suffix(f".{os.getpid()}")
        part.write_bytes(data)
        part.replace(_KEPT)


def program(modules: Iterable[str], change: Callable[[str], str]) -> str:
    """The beginning of a program in which some modules of the agent can be imported, each after ``change``.

    Raises:
        KeyError: there is no module of that name.
    """
    sources = _sources()
    packages = {name: (sources[name][0], "") for name in ("runctl", *(f"runctl.{name}" for name in PACKAGES))}
    return _finder(packages | {name: (sources[name][0], change(sources[name][1])) for name in modules})


def _finder(sources: Mapping[str, tuple[str, str]]) -> str:
    lines = "".join(f"    {name!r}: {sources[name]!r},\n" for name in sorted(sources))
    return _FINDER.replace("{sources}", "{\n" + lines + "}")


def _sources() -> dict[str, tuple[str, str]]:
    """Every module of the agent and the formats: name → (file name for tracebacks, source)."""
    from importlib import resources  # noqa: PLC0415 - 5 ms, and only where nothing is kept

    root = resources.files("runctl")
    found = {"runctl": ("runctl/__init__.py", "")}
    for package in PACKAGES:
        found.update(_modules(root / package, f"runctl.{package}", f"runctl/{package}"))
    return found


def _modules(folder: Traversable, package: str, path: str) -> dict[str, tuple[str, str]]:
    """Module name → (file name for tracebacks, source) of everything below ``folder``."""
    found: dict[str, tuple[str, str]] = {}
    for item in folder.iterdir():
        if item.is_dir() and item.name.isidentifier() and item.name != "__pycache__":
            found.update(_modules(item, f"{package}.{item.name}", f"{path}/{item.name}"))
        elif item.name == "__init__.py":
            found[package] = (f"{path}/__init__.py", item.read_text("utf-8"))
        elif item.name.endswith(".py"):
            found[f"{package}.{item.name[:-3]}"] = (f"{path}/{item.name}", item.read_text("utf-8"))
    return found

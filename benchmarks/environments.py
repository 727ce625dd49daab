"""An environment restored from the store, over installing it: with pip from its cache, with uv from its cache.

The packages are made here, from an index in a folder, of the kind that makes environments slow: many small modules, and
a few large files that deflate as compiled code does. The store is a folder on the same disk, so what is measured is
unpacking, verifying, writing and trying out; a network adds its own time. Also what compressing costs, by method.
"""

from __future__ import annotations

import lzma
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Limit, Row, in_turns
from benchmarks.world import PYTHON
from runctl.agent import env_deposit, environment
from runctl.agent.env_parts import LEVEL
from runctl.agent.env_recipe import Place
from runctl.agent.journal import Journal
from runctl.agent.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES, MODULES = 12, 200  # distributions, and modules in each
LIBRARY = 16 << 20  # bytes of the large file in each
SAMPLE = 32 << 20  # bytes compressed to compare methods


def rows(*, rounds: int) -> list[Row]:
    """Restore beside both installers; then what one CPU compresses and inflates, by method."""
    with tempfile.TemporaryDirectory(prefix="runctl-bench-") as name:
        world = _World(Path(name))
        world.build_and_store()
        uv = world.uv()
        work: dict[str, Callable[[], float]] = {
            "restore": world.restore,
            "pip": lambda: world.install("pip"),
            "there": world.there,
        }
        if uv:
            work["uv"] = lambda: world.install("uv")
            work["first"] = world.first
            work["by hand"] = lambda: world.install("uv", cold=True)
        found = in_turns(work, rounds=rounds, warm_up=1)
        pip = Row("pip install, warm cache", found["pip"])
        note = f"{world.size / 1e6:.0f} MB, {world.files:,} files; packed {world.packed / 1e6:.0f} MB"
        limit = Limit("ratio", 0.2)
        out = [pip, Row("restored from the store", found["restore"], floor=pip.value, limit=limit, note=note)]
        if uv:
            out.append(Row("uv pip install, warm cache", found["uv"], floor=pip.value))
            hand = Row("uv venv, uv pip install by hand, empty cache", found["by hand"])
            first = Row(
                "first build, empty cache", found["first"], floor=hand.value, limit=Limit("ratio", 1.1)
            )
            out += [hand, first]
        out.append(Row("the step where it is there already", found["there"], limit=Limit("value", 0.15)))
        return [*out, *_methods(world.sample(), rounds)]


def _methods(data: bytes, rounds: int) -> list[Row]:
    """Seconds for the same bytes, both ways, by method."""
    ways: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
        "zlib 1": (lambda raw: zlib.compress(raw, 1), zlib.decompress),
        "zlib 6": (lambda raw: zlib.compress(raw, 6), zlib.decompress),
        "lzma 0": (lambda raw: lzma.compress(raw, preset=0), lzma.decompress),
    }
    out = []
    for name, (pack, unpack) in ways.items():
        packed = pack(data)
        found = in_turns(
            {"pack": lambda pack=pack: _seconds(lambda: pack(data)),  # type: ignore[misc]
             "unpack": lambda unpack=unpack, packed=packed: _seconds(lambda: unpack(packed))},  # type: ignore[misc]
            rounds=min(rounds, 5), warm_up=0,
        )  # fmt: skip
        chosen = "; what environments use" if name == f"zlib {LEVEL}" else ""
        share = f"to {100 * len(packed) / len(data):.0f} % of {len(data) >> 20} MiB{chosen}"
        out.append(Row(f"pack, {name}", found["pack"], note=share))
        out.append(Row(f"unpack, {name}", found["unpack"]))
    return out


def _seconds(do: Callable[[], object]) -> float:
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


class _World:
    """An index in a folder, a store in a folder, and homes that are thrown away."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.code = root / "code"
        self.code.mkdir()
        self.access = {"kind": "directory", "path": str(root / "store")}
        self.size = self.packed = self.files = 0
        self._count = 0
        self._sample = b""
        os.environ.update(
            PIP_NO_INDEX="1", PIP_FIND_LINKS=str(root / "wheels"), PIP_CACHE_DIR=str(root / "pip"),
            UV_FIND_LINKS=str(root / "wheels"), UV_NO_INDEX="1", UV_CACHE_DIR=str(root / "uv"),
            PIP_CONFIG_FILE=os.devnull,
        )  # fmt: skip

    def uv(self) -> str | None:
        return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))

    def sample(self) -> bytes:
        """Bytes as they lie in such an environment."""
        return (self._sample * (SAMPLE // len(self._sample) + 1))[:SAMPLE]

    def build_and_store(self) -> None:
        """Make the packages, install them once and store what came of it."""
        (self.root / "wheels").mkdir()
        names = [self._wheel(f"part{number}") for number in range(PACKAGES)]
        (self.code / "requirements.txt").write_text("\n".join(names) + "\n")
        key = self._ensure(self.root / "first", "pip", None)
        place = Place(str(self.root / "first"), key)
        done = env_deposit.deposit(place, open_store(self.access), home=str(self.root / "first"), workers=2)
        assert done is not None
        self.size, self.packed, self.files = done["bytes"], done["packed"], done["files"]

    def _wheel(self, name: str) -> str:
        """Source text that is like source text, and a library: a third of it noise, the rest repeated."""
        import zipfile  # noqa: PLC0415 - here only

        chance = random.Random(name)
        words = [f"{name}_{chance.randrange(10**6)}" for _ in range(400)]
        text = {
            f"{name}/m{number}.py": "".join(
                f"def {chance.choice(words)}_{line}(a, b):\n    return a * {chance.random()} + b\n"
                for line in range(60)
            )
            for number in range(MODULES)
        }
        unit = b"".join(chance.randbytes(1000) + bytes(1000) + words[0].encode() * 80 for _ in range(200))
        library = (unit * (LIBRARY // len(unit) + 1))[:LIBRARY]
        self._sample = self._sample or library[: SAMPLE // 4] + "".join(text.values()).encode()
        info = f"{name}-1.0.dist-info"
        content: dict[str, bytes] = {path: body.encode() for path, body in text.items()}
        content |= {f"{name}/__init__.py": b"", f"{name}/lib.so.1": library}
        content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
        content[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in content).encode()
        with zipfile.ZipFile(
            self.root / "wheels" / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED
        ) as archive:
            for path, data in content.items():
                archive.writestr(path, data)
        return name

    def _ensure(self, home: Path, installer: str, store: dict[str, str] | None) -> str:
        home.mkdir(exist_ok=True)
        request: dict[str, Any] = {"kind": "requirements", "files": ["requirements.txt"], "blobs": {}, "python": None,
                   "digest": "0" * 64, "installer": installer}  # fmt: skip
        journal = Journal(str(home / "events.jsonl"), "bench")
        try:
            found = environment.ensure(
                request,
                home=str(home),
                code=str(self.code),
                journal=journal,
                cancelled=lambda: False,
                store=store,
            )
        finally:
            journal.close()
        if store is not None:
            assert "restored" in (home / "events.jsonl").read_text(), "it was not restored"
        return found.key

    def restore(self) -> float:
        """Into a home of its own, as another machine would."""
        return self._away(lambda home: self._ensure(home, "auto", self.access))

    def first(self) -> float:
        """A build with uv that finds nothing in its cache."""
        return self._with_new_cache(lambda: self._away(lambda home: self._ensure(home, "uv", None)))

    def there(self) -> float:
        """The step on a machine that has it."""
        return _seconds(lambda: self._ensure(self.root / "first", "auto", None))

    def _with_new_cache(self, do: Callable[[], float]) -> float:
        kept = os.environ["UV_CACHE_DIR"]
        os.environ["UV_CACHE_DIR"] = str(self.root / "empty")
        try:
            return do()
        finally:
            os.environ["UV_CACHE_DIR"] = kept
            shutil.rmtree(self.root / "empty")

    def install(self, installer: str, *, cold: bool = False) -> float:
        """The installer by hand: a bare environment, and everything from its own warm cache, or from an empty one."""
        if cold:
            return self._with_new_cache(lambda: self.install(installer))

        def do(home: Path) -> None:
            uv = self.uv() or ""
            target = str(home / "bin" / "python")
            make = [uv, "venv", "-q", "--python", PYTHON, str(home)] if installer == "uv" else [
                PYTHON, "-m", "venv", "--without-pip", str(home)]  # fmt: skip
            put = [uv, "pip", "install", "-q", "--no-index", "--python", target] if installer == "uv" else [
                PYTHON, "-m", "pip", "--python", target, "install", "-q", "--disable-pip-version-check"]  # fmt: skip
            for argv in (make, [*put, "-r", str(self.code / "requirements.txt")]):
                subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)

        return self._away(do)

    def _away(self, do: Callable[[Path], object]) -> float:
        self._count += 1
        home = self.root / f"home{self._count}"
        took = _seconds(lambda: do(home))
        shutil.rmtree(home)
        return took

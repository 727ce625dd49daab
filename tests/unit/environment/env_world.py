"""A store in a folder and machines around it, for the tests of stored environments."""

from __future__ import annotations

import json
import os
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.environment.env_machine import Machine
from tests.unit.environment.wheel_index import Index, wheel

from runctl.agent import env_deposit
from runctl.agent.env_recipe import Place
from runctl.agent.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = os.urandom(4_000_000)
EXTENSION = "_heapq" + sysconfig.get_config_var("EXT_SUFFIX")


def compiled() -> bytes:
    """A real extension module of this Python."""
    import _heapq

    path = getattr(_heapq, "__file__", None)
    if path is None:
        pytest.skip("this Python has its extension modules built in")
    return Path(path).read_bytes()


def packages(index: Index) -> Index:
    """What a project installs here: modules, a large file, a program, a compiled extension."""
    index.add(wheel("alpha"))
    index.add(wheel("big", files={"big/__init__.py": "x = 1\n", "big/data.bin": LARGE}))
    index.add(
        wheel(
            "tool",
            files={
                "tool/__init__.py": "def main():\n    print('tool runs')\n",
                "tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntool = tool:main\n",
            },
        )
    )
    index.add(wheel("fast", files={"fast/__init__.py": "", f"fast/{EXTENSION}": compiled()}))
    return index


class World:
    """A store in a folder, and machines with homes of their own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, index: Index) -> None:
        self.root, self.monkeypatch, self.index = root, monkeypatch, index
        self.folder = root / "store"
        self.access = {"kind": "directory", "path": str(self.folder)}
        self.store = open_store(self.access)

    def machine(self, name: str) -> Machine:
        (self.root / name).mkdir()
        return Machine(self.root / name, self.monkeypatch, self.index)

    def deposit(self, machine: Machine, key: str, **more: Any) -> dict[str, Any] | None:
        place = Place(str(machine.home), key)
        return env_deposit.deposit(place, self.store, home=str(machine.home), **more)

    def built(self, name: str, *lines: str, installer: str = "uv") -> tuple[Machine, str]:
        machine = self.machine(name)
        found = machine.ensure(machine.request(*lines, installer=installer))
        return machine, found.key

    def manifest(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "envs" / key / "manifest.json").read_bytes())
        return found

    def parts(self, key: str) -> list[Path]:
        return [self.folder / "envs" / key / part["digest"] for part in self.manifest(key)["parts"]]


LINES = ("alpha", "big", "tool", "fast")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with packages(Index()) as index:
        yield World(tmp_path, monkeypatch, index)


def tree(folder: Path) -> dict[str, Any]:
    """Everything below a folder that decides what an environment is: content, links, whether it can be executed."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file() and name != ".runctl.json":
            data = path.read_bytes().replace(os.fsencode(folder), b"HERE")
            found[name] = (data, os.access(path, os.X_OK), int(path.stat().st_mtime))
    return found


def same(first: Path, second: Path) -> None:
    """The same tree but for the folder's name, in modules' own compiled names, and in digests of what names it."""
    one, two = tree(first), tree(second)
    assert one.keys() == two.keys()
    for name in one:
        if not name.endswith((".pyc", "RECORD", "pyvenv.cfg")):
            assert one[name] == two[name], name


def changed(world: World, key: str, **more: Any) -> None:
    """Write a manifest anew, with other values."""
    path = world.folder / "envs" / key / "manifest.json"
    path.write_text(json.dumps({**world.manifest(key), **more}))

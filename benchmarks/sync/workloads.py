"""What is synced: projects as people have them, the same bytes each time they are made."""

from __future__ import annotations

import os
import random
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_AGO = 1_700_000_000  # seconds since the epoch


@cache
def _corpus() -> bytes:
    """Source text: this Python's own standard library, so that it compresses as code does."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in library.glob("**/*.py") if "site-packages" not in path.parts)
    parts, size = [], 0
    for path in files:
        parts.append(path.read_bytes())
        size += len(parts[-1])
        if size > 12_000_000:
            break
    return b"".join(parts)


def _text(chance: random.Random, size: int) -> bytes:
    """Text like code: cuts of the corpus, each with a line of its own."""
    corpus, parts, made = _corpus(), [], 0
    while made < size:
        length = chance.randint(200, 2000)
        start = chance.randrange(len(corpus) - length)
        part = b"# %016x\n" % chance.getrandbits(64) + corpus[start : start + length] + b"\n"
        parts.append(part)
        made += len(part)
    return b"".join(parts)[:size]


def _write(top: Path, path: str, data: bytes, age: int = 0) -> None:
    target = top / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    os.utime(target, (LONG_AGO + age, LONG_AGO + age))


def typical(top: Path) -> None:
    """A repository as one has it: 760 files, 5 MB, and 10 MB beside that nobody wants to send."""
    chance = random.Random(1)
    for number in range(756):
        size = int(min(120_000, max(200, chance.lognormvariate(8.3, 1.0))))
        end = ("py", "py", "py", "yaml", "md", "json")[number % 6]
        _write(top, f"pkg{number % 12}/sub{number % 5}/mod_{number}.{end}", _text(chance, size), number)
    _write(top, "train.py", _text(chance, 9000))
    _write(top, "requirements.txt", b"torch\nnumpy\n")
    _write(top, ".gitignore", b"__pycache__/\n*.pyc\n.venv/\ndata/\n*.ckpt\n")
    for number in range(60):
        name = f"pkg{number % 12}/__pycache__/mod_{number}.cpython-311.pyc"
        _write(top, name, chance.randbytes(9000))
    _write(top, "data/raw.bin", chance.randbytes(10_000_000))


def small_files(top: Path, *, count: int = 20_000, total: int = 100_000_000) -> None:
    """20,000 small files, 100 MB: seven tenths of them text, the others incompressible."""
    chance = random.Random(2)
    sizes = [min(200_000, max(40, chance.lognormvariate(7.6, 1.2))) for _ in range(count)]
    scale = total / sum(sizes)
    ends = ("py", "py", "json", "py", "yaml", "txt", "py", "png", "npz", "bin")
    for number, size in enumerate(sizes):
        length = int(size * scale)
        data = _text(chance, length) if number % 10 < 7 else chance.randbytes(length)
        name = f"d{number // 1000:02}/s{number // 40 % 25:02}/f{number:05}.{ends[number % 10]}"
        _write(top, name, data, number % 9999)
    _write(top, ".gitignore", b"*.pyc\n")


def many_files(top: Path, *, count: int = 100_000) -> None:
    """100,000 small files, 165 MB."""
    chance, corpus = random.Random(4), _corpus()
    for number in range(count):
        length = int(min(60_000, max(20, chance.lognormvariate(6.8, 1.1))))
        start = chance.randrange(len(corpus) - length)
        name = f"svc{number // 2500:02}/lib{number // 125 % 20:02}/m{number // 25 % 5}/file_{number:06}.py"
        _write(top, name, corpus[start : start + length], number % 9999)
    _write(top, ".gitignore", b"node_modules/\n*.log\nbuild/\n/dist\n!keep.log\n**/tmp/*.bin\n")


def growing(top: Path, *, size: int = 500_000_000) -> None:
    """One file of 500 MB that is appended to, and a script."""
    chance = random.Random(6)
    top.mkdir(parents=True, exist_ok=True)
    with (top / "tokens.bin").open("wb") as file:
        for _ in range(size // 50_000_000):
            file.write(chance.randbytes(50_000_000))
    os.utime(top / "tokens.bin", (LONG_AGO, LONG_AGO))
    _write(top, "train.py", b"print(1)\n")


def edit_script(top: Path, turn: int) -> Path:
    """One line more in one file; which."""
    path = next(
        path
        for path in (top / "train.py", *sorted(top.glob("*/*/*.txt")), *sorted(top.glob("*/*/*/*.py")))
        if path.exists()
    )
    with path.open("ab") as file:
        file.write(b"# edited %d\n" % turn)
    return path


def append(top: Path, turn: int) -> Path:
    """One hundredth more in the large file; which."""
    path = top / "tokens.bin"
    with path.open("ab") as file:
        file.write(random.Random(60 + turn).randbytes(5_000_000))
    return path


# name -> (what it is, how it is made, how it is changed)
WORKLOADS: dict[str, tuple[str, Callable[[Path], None], Callable[[Path, int], Path]]] = {
    "typical": ("760 files, 5 MB", typical, edit_script),
    "small": ("20,000 files, 100 MB", small_files, edit_script),
    "many": ("100,000 files, 165 MB", many_files, edit_script),
    "growing": ("500 MB, then 1 % more", growing, append),
}

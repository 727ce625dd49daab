"""Packs and blocks: what is packed comes back on any machine, whatever it knows; the level follows the line."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.storebox import PYTHONS, on_machine

from runctl.agent import zstd
from runctl.agent.tree_object import unpacked
from runctl.engine import compression, packs
from runctl.engine.compression import ZLIB, Pace, best
from runctl.engine.packs import Piece
from runctl.testing.stores import content

BOTH = [best(zstd=False), best(zstd=True)]


def piece(data: bytes) -> Piece:
    digest = hashlib.sha256(data).hexdigest()
    return Piece(digest, len(data), digest)


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.letter.decode())
@given(contents=st.lists(st.binary(max_size=2000), min_size=1, max_size=12))
def test_what_is_packed_comes_back(codec: compression.Codec, contents: list[bytes]) -> None:
    assert unpacked(packs.block(contents, Pace(codec))) == contents


def test_this_computer_has_both() -> None:
    assert [codec.letter for codec in BOTH] == [b"Z", b"S"]


def test_what_cannot_be_compressed_is_not() -> None:
    noise = [content(50_000, number) for number in range(4)]
    for codec in BOTH:
        block = packs.block(noise, Pace(codec))
        assert block[:1] == b"R"
        assert len(block) < sum(map(len, noise)) + 50


@pytest.mark.parametrize("python", PYTHONS)
def test_a_machine_without_any_package_unpacks_zstandard(python: str, tmp_path: Path) -> None:
    folder = tmp_path
    text = [b"the same words again and again %d\n" % n * 50 for n in range(40)]
    block = packs.block(text, Pace(best(zstd=True)))
    assert block[:1] == b"S"
    (folder / "block").write_bytes(block)
    code = f"""
from runctl.agent.tree_object import unpacked
import hashlib
with open({str(folder / "block")!r}, "rb") as file: data = file.read()
print(hashlib.sha256(b"".join(unpacked(data))).hexdigest())
for wrong in (data[:-5], b"S", b"S" + b"x" * 90):
    try: unpacked(wrong)
    except ValueError: continue
    raise SystemExit("it was not noticed")
"""
    done = on_machine(code, folder / "code.py", python=python)
    assert done.stdout.strip() == hashlib.sha256(b"".join(text)).hexdigest()


def test_a_frame_may_not_be_larger_than_it_should() -> None:
    decompress = zstd.decompressor()
    assert decompress is not None
    bomb = best(zstd=True).compress(b"\0" * 1_000_000, 3)
    with pytest.raises(ValueError, match="larger"):
        decompress(bomb, 999_999)
    assert len(decompress(bomb, 1_000_000)) == 1_000_000


@pytest.mark.parametrize("data", [b"", b"Q", b"Zxx", b"R", b"R5\nabc", b"R1 x\nab"])
def test_what_is_no_block_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpacked(data)


def test_packs_are_about_a_hundredth_and_blocks_a_mebibyte() -> None:
    many = [piece(os.urandom(20_000)) for _ in range(500)]
    plan = packs.plan(many)
    assert [each for pack in plan for block in pack for each in block] == many
    assert all(sum(p.size for block in pack for p in block) <= (1 << 18) + 20_000 for pack in plan)
    large = [Piece(f"{n:064x}", 1 << 20, "0" * 64, n << 20) for n in range(3000)]
    plan = packs.plan(large)
    assert max(sum(p.size for block in pack for p in block) for pack in plan) == 8 << 20
    assert {len(block) for pack in plan for block in pack} == {1}
    assert packs.plan([]) == []


def test_the_level_follows_the_line() -> None:
    pace = Pace(best(zstd=True))
    library = Path(json.__file__).parent.parent
    raw = b"".join(path.read_bytes() for path in sorted(library.glob("*.py"))[:12])
    first = len(pace.pack(raw))
    for _ in range(9):
        pace.took(compressing=0.01, sending=1.0)
    slow = len(pace.pack(raw))
    for _ in range(9):
        pace.took(compressing=1.0, sending=0.01)
    fast = len(pace.pack(raw))
    assert slow < first <= fast
    assert Pace(ZLIB).codec.letter == b"Z"

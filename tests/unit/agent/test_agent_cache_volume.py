"""A cache volume that does not come, or is of no use, costs a bounded wait and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from tests.unit.environment.wheel_index import Index, wheel

from runctl.agent import cache_blobs, environment
from runctl.agent.cache_volume import CacheVolume
from runctl.agent.directory import Directory
from runctl.agent.home import Home, write_json
from runctl.agent.journal import Journal

KEY = "runs/r1/1/cache.json"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(str(tmp_path / "home"))
    os.makedirs(found.run("r1").path)
    return found


def volume(home: Home, *, patience: float = 0.3) -> CacheVolume:
    run = home.run("r1")
    return CacheVolume(home, run, Journal(run.events, "r1"), word_seconds=patience, device_seconds=patience)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (None, "nobody attached one"),
        (b"{", "cannot be read"),
        (b"[]", "there is none"),
        (b'{"volume": "", "why": "i-1 has it"}', "i-1 has it"),
        (b'{"volume": "vol-0123", "device": "/dev/sdzz"}', "no disk of vol-0123 showed up"),
        (b'{"volume": "vol-0123", "device": "; rm"}', "no disk of vol-0123 showed up"),
    ],
)
def test_the_run_goes_on_without_it_and_says_why(
    home: Home, tmp_path: Path, word: bytes | None, why: str
) -> None:
    store = Directory(str(tmp_path / "store"))
    if word is not None:
        store.put(KEY, word)
    assert volume(home).bring(store, KEY) == ""
    events = [json.loads(line) for line in Path(home.run("r1").events).read_text().splitlines()]
    (notice,) = [each for each in events if each["kind"] == "notice"]
    assert why in notice["text"]
    assert events[-1]["kind"] == "step.finished"
    assert events[-1]["skipped"] is True
    assert volume(home).leave(last=True) is None


@pytest.fixture
def tiny(home: Home) -> Iterator[str]:
    """A file system of two megabytes where the cache volume is mounted."""
    path = volume(home).path
    os.makedirs(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_full_one_is_given_up_and_the_environment_is_built(
    home: Home, tmp_path: Path, tiny: str, installer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "own"))
    code = tmp_path / "code"
    code.mkdir()
    large = wheel("alpha", files={"alpha/__init__.py": "", "alpha/data.bin": os.urandom(6 << 20)})
    with Index(cacheable=True) as index:
        index.add(large)
        lines = f"--index-url {index.url}\n--trusted-host 127.0.0.1\nalpha\n"
        (code / "requirements.txt").write_text(lines)
        request = {"kind": "requirements", "files": ["requirements.txt"], "digest": "0" * 64, "python": None}
        found = environment.ensure(
            {**request, "blobs": {}, "installer": installer},
            home=home.path,
            code=str(code),
            journal=Journal(home.run("r1").events, "r1"),
            cancelled=lambda: False,
            cache=tiny,
        )
    assert found.complete
    subprocess.run([found.python, "-c", "import alpha"], check=True)
    told = Path(home.run("r1").events).read_text()
    assert ("trying again without the cache volume" in told) is (installer == "uv")  # pip fills none
    assert volume(home).leave(last=True) is not None
    assert volume(home).leave(last=True) is None


def test_large_files_are_kept_verified_and_pruned(home: Home, tmp_path: Path) -> None:
    cache, content = tmp_path / "cache", os.urandom(2 << 20)
    digest = sha256(content).hexdigest()
    tree = [{"path": "m", "type": "file", "digest": digest, "size": len(content)}]
    write_json(home.run("r1").spec, {"tree": tree})
    blob = Path(home.blob(digest))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    cache.mkdir()
    cache_blobs.keep(home.run("r1"), str(cache), home=home, stopped=lambda: True)
    assert list((cache / "blobs").iterdir()) == []  # stopped in the middle: nothing half is left
    cache_blobs.keep(home.run("r1"), str(cache), home=home, stopped=lambda: False)
    blob.unlink()
    assert cache_blobs.take(tree, str(cache), home=home) == 1
    assert blob.read_bytes() == content
    blob.unlink()
    (kept,) = (cache / "blobs").iterdir()
    kept.write_bytes(content[:-1] + b"!")
    assert cache_blobs.take(tree, str(cache), home=home) == 0  # damaged: not taken, and removed
    assert not kept.exists()
    assert not blob.exists()
    kept.write_bytes(content)
    os.utime(kept, (1, 1))
    cache_blobs.keep(home.run("r1"), str(cache), home=home, stopped=lambda: False)
    assert not kept.exists()  # nobody used it for a month

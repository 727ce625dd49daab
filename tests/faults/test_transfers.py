"""``runctl transfer`` between here, an SSH host and buckets; killed, cut, refused: the same command goes on."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import until
from tests.conftest import World
from tests.lineproxy import line_to
from tests.sshbox import SshBox, ssh_box
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox

LARGE = hashlib.shake_128(b"large").digest(30_000_000)
ODD = "sub/odd \n'ü'"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture
def host(world: World, tmp_path: Path, there: Path) -> Iterator[SshBox]:
    with ssh_box(tmp_path / "box", env={"HOME": str(there)}) as box:
        world.env["RUNCTL_SSH_CONFIG"] = str(box.config)
        (world.root / ".runctl.toml").write_text('[hosts]\ngpubox = "ssh://box"\n')
        yield box


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("cloud"), "--plain") as box:
        box.client("s3").create_bucket(Bucket="shared")
        yield box


@pytest.fixture
def data(world: World) -> Path:
    folder = world.root / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "large").write_bytes(LARGE)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / ODD).write_text("odd")
    (folder / "empty").write_bytes(b"")
    os.close(os.open(os.fsencode(folder) + b"/\xff\xfe", os.O_CREAT))
    return folder


def tree(folder: Path) -> dict[bytes, bytes]:
    base = os.fsencode(folder)
    return {
        os.path.relpath(os.path.join(above, name), base): Path(
            os.fsdecode(os.path.join(above, name))
        ).read_bytes()
        for above, _, names in os.walk(base)
        for name in names
    }


def transfer(world: World, *words: str) -> Any:
    done = world.runctl("transfer", *words, "--json")
    assert done.code == 0, done.err
    return done.json()


def test_a_folder_goes_to_a_host_and_comes_back(world: World, host: SshBox, there: Path, data: Path) -> None:
    first = transfer(world, "data", "gpubox:data")
    assert (first["copied"], first["same"], first["bytes"]) == (5, 0, 30_000_013)
    assert tree(there / "data") == tree(data)
    assert os.access(there / "data" / "run.sh", os.X_OK)
    assert (there / "data" / "large").stat().st_mtime == pytest.approx((data / "large").stat().st_mtime)
    assert transfer(world, "data/", "gpubox:data/")["same"] == 5
    back = transfer(world, f"ssh://box{there}/data", "back")
    assert back["copied"] == 5
    assert tree(world.root / "back") == tree(data)
    (data / "new").write_text("new")
    (data / "large").write_bytes(LARGE[::-1])
    (data / "empty").unlink()
    again = transfer(world, "data", "gpubox:data", "--delete", "--yes")
    assert (again["copied"], again["same"], again["deleted"]) == (2, 3, 1)
    assert tree(there / "data") == tree(data)


def test_nothing_is_deleted_behind_a_link(world: World, host: SshBox, there: Path, data: Path) -> None:
    transfer(world, "data", "gpubox:data")
    (there / "photos").mkdir()
    (there / "photos" / "mine.jpg").write_text("precious")
    (there / "data" / "link").symlink_to(there / "photos")
    (there / "data" / "inner").symlink_to("sub")
    assert transfer(world, "data", "gpubox:data", "--delete", "--yes")["deleted"] == 0
    assert (there / "photos" / "mine.jpg").read_text() == "precious"
    assert (there / "data" / ODD).read_text() == "odd"


def test_one_file_gets_the_name_one_would_expect(world: World, host: SshBox, there: Path, data: Path) -> None:
    (there / "folder").mkdir()
    for target in ("gpubox:", "gpubox:folder", "gpubox:made/", "gpubox:folder/named"):
        assert transfer(world, "data/run.sh", target)["copied"] == 1
    assert {name for name in tree(there) if not name.startswith(b".runctl")} == {
        b"run.sh", b"folder/run.sh", b"made/run.sh", b"folder/named",
    }  # fmt: skip
    transfer(world, "gpubox:folder/named", ".")
    assert (world.root / "named").read_text() == "#!/bin/sh\n"


def test_patterns_and_a_dry_run(world: World, host: SshBox, there: Path, data: Path) -> None:
    would = world.runctl("transfer", "data", "gpubox:x", "--include", "*.sh", "--dry-run")
    assert would.out == (
        "> copy 1 file, 10 B, to gpubox:x\n>   run.sh  10 B\n= 0 files are the same on both sides\n"
    )
    assert list(there.iterdir()) == []  # not even the agent
    assert transfer(world, "data", "gpubox:x", "--include", "*.sh")["copied"] == 1


def test_what_cannot_be_copied_is_said_and_the_rest_comes(
    world: World, host: SshBox, there: Path, data: Path
) -> None:
    (there / "data" / "large").mkdir(parents=True)
    (there / "elsewhere").mkdir()
    (there / "data" / "sub").symlink_to(there / "elsewhere")
    (data / "gone").symlink_to("nowhere")
    (data / "half.part").write_text("cut off")
    (data / "half.part.done").write_text("notes")
    (data / "list.part.done").write_text("somebody's own")
    done = world.runctl("transfer", "data", "gpubox:data")
    assert done.code == 1
    assert "left out  gone: a link to nothing" in done.out
    assert "left out  large: a folder has its name there" in done.out
    assert "a link there leads out of the folder" in done.out
    assert list((there / "elsewhere").iterdir()) == []
    assert "left out  half.part: half of a transfer that was cut off" in done.out
    assert {"run.sh", "list.part.done"} <= set(os.listdir(there / "data"))
    assert "half.part" not in os.listdir(there / "data")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nothing", "gpubox:x"), "objects-none"),
        (("gpubox:nothing", "x"), "objects-none"),
        (("data", "nobody:x"), "machine-unknown"),
        (("data", "elsewhere"), "objects-ends"),
    ],
)
def test_what_cannot_be_is_said(
    world: World, host: SshBox, data: Path, words: tuple[str, str], code: str
) -> None:
    done = world.runctl("transfer", *words)
    assert f"error[{code}]" in done.err, done.err


@pytest.mark.parametrize("allowed", [True, False], ids=["by itself", "by way of here"])
def test_a_host_and_a_bucket(
    world: World, tmp_path: Path, there: Path, data: Path, cloud: SandboxBox, allowed: bool
) -> None:
    """A host with credentials copies by itself; one without, by way of this computer."""
    os.unlink(os.fsencode(data) + b"/\xff\xfe")
    world.env |= cloud.values
    mine = {name: value for name, value in cloud.values.items() if name.startswith("AWS_")}
    theirs = mine if allowed else {"AWS_EC2_METADATA_DISABLED": "true"}
    with ssh_box(tmp_path / "box", env={"HOME": str(there), **theirs}) as box:
        world.env["RUNCTL_SSH_CONFIG"] = str(box.config)
        prefix = f"s3://shared/{allowed}"
        assert transfer(world, "data", "ssh://box/~/data")["copied"] == 4
        done = world.runctl("transfer", "ssh://box/~/data", prefix)
        assert done.code == 0, done.err
        assert ("by way of this computer" in done.err) is not allowed
        assert done.out.startswith(f"copied    4 files, 30.0 MB, to {prefix}\n")
        assert transfer(world, "ssh://box/~/data", prefix)["same"] == 4
        assert transfer(world, prefix, "ssh://box/~/from-bucket")["copied"] == 4
        assert tree(there / "from-bucket") == tree(data)
        assert transfer(world, prefix, "ssh://box/~/from-bucket")["same"] == 4
        assert transfer(world, "ssh://box/~/data/run.sh", f"{prefix}/one/")["copied"] == 1
        assert transfer(world, f"{prefix}/one/run.sh", "ssh://box/~/named")["copied"] == 1
        assert (there / "named").read_text() == "#!/bin/sh\n"
        assert not list(tmp_path.glob("runctl-*"))


def started(world: World, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runctl", "transfer", *words],
        cwd=world.root, env=world.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def half(folder: Path) -> int:
    try:
        return (folder / "large.part").stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("way", ["there", "here"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_what_was_ended_half_way_goes_on(
    world: World, host: SshBox, there: Path, data: Path, way: str, how: signal.Signals
) -> None:
    (there / "data").mkdir()
    (there / "data" / "large").write_bytes(LARGE)
    ends = ("data/large", "gpubox:out/large") if way == "there" else ("gpubox:data/large", "out/large")
    folder = (there if way == "there" else world.root) / "out"
    with line_to(host.port, bytes_a_second=8_000_000) as line:
        host.knows(host.host_key.public, port=line.port)
        host.configure(port=line.port)
        client = started(world, *ends)
        until(lambda: half(folder) > 8_000_000, "some of it is there")
        begun = time.monotonic()
        client.send_signal(how)
        _, said = client.communicate(timeout=20)
        assert time.monotonic() - begun < 4
        assert client.returncode == (130 if how == signal.SIGINT else -9), said
    assert not (folder / "large").exists()
    before = half(folder)
    assert before > 8_000_000
    with line_to(host.port) as line:
        host.knows(host.host_key.public, port=line.port)
        host.configure(port=line.port)
        assert transfer(world, *ends)["copied"] == 1
        assert len(LARGE) - before <= line.carried + line.brought <= len(LARGE) - before + 2_000_000
    assert (folder / "large").read_bytes() == LARGE
    assert os.listdir(folder) == ["large"]


def test_a_link_that_drops_costs_nothing(world: World, host: SshBox, there: Path, data: Path) -> None:
    with line_to(host.port, bytes_a_second=8_000_000) as line:
        host.knows(host.host_key.public, port=line.port)
        host.configure(port=line.port)
        client = started(world, "data", "gpubox:out")
        for limit in (4_000_000, 14_000_000):
            until(lambda: half(there / "out") > limit, "some of it is there")  # noqa: B023 - asked at once
            host.cut()
        said, errors = client.communicate(timeout=60)
        assert client.returncode == 0, errors
        assert "copied    5 files, 30.0 MB, to gpubox:out" in said
        assert "going on in" in errors
    assert tree(there / "out") == tree(data)


def test_a_content_that_is_another_one_now_is_not_mixed(
    world: World, host: SshBox, there: Path, data: Path
) -> None:
    (there / "out").mkdir()
    state = (data / "large").stat()
    (there / "out" / "large.part").write_bytes(b"other bytes" * 1000)
    mark = f"transfer {state.st_size} {state.st_mtime!r}\n"
    (there / "out" / "large.part.done").write_text(mark)  # as if it were of this content
    done = world.runctl("transfer", "data/large", "gpubox:out/large")
    assert done.code == 1
    assert "left out  : it arrived with another content" in done.out or "another content" in done.out
    assert not (there / "out" / "large").exists()
    assert transfer(world, "data/large", "gpubox:out/large")["copied"] == 1
    assert (there / "out" / "large").read_bytes() == LARGE

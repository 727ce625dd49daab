"""Environments that one machine stores and another one restores."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from tests.unit.environment.env_machine import INSTALLERS, Machine
from tests.unit.environment.env_world import LARGE, LINES, changed, same, world
from tests.unit.environment.wheel_index import wheel

from runctl.agent import env_move, env_object, env_parts, env_proof
from runctl.agent.env_parts import Unpackable

__all__ = ["world"]
each_installer = pytest.mark.parametrize("installer", INSTALLERS)


@each_installer
def test_a_second_machine_restores_what_the_first_one_built_and_asks_no_index(installer, world) -> None:
    first, key = world.built("first", *LINES, installer=installer)
    stored = world.deposit(first, key)
    assert stored is not None
    assert stored["bytes"] > len(LARGE)

    asked = world.index.requests.total()
    second = world.machine("a-machine-with-a-longer-name")
    found = second.ensure(second.request(*LINES, installer=installer), store=world.access)
    assert found.complete
    assert world.index.requests.total() == asked
    assert found.key == key
    assert second.complete() == [key]
    assert "restored from the store: 4 packages" in second.events("step.finished")[0]["summary"]
    moving = second.events("step.progress")
    assert (moving[0]["done"], moving[-1]["done"]) == (0, moving[-1]["total"]), moving
    assert moving[-1]["total"] == stored["packed"]
    assert {event["unit"] for event in moving} == {"bytes"}
    assert not second.notices()

    done = second.run(found, "import sys, alpha, big, fast._heapq; print(alpha.__file__, sys.prefix)")
    assert done.stdout.count(str(second.home)) == 2, done
    assert str(first.home) not in done.stdout
    folder = second.home / "envs" / key
    tool = subprocess.run([folder / "bin" / "tool"], capture_output=True, text=True, check=False)
    assert tool.stdout == "tool runs\n", tool
    same(first.home / "envs" / key, folder)
    left = {path.name.partition(".")[2] for path in (second.home / "envs").iterdir()}
    assert left <= {"", "lock"}


def test_what_was_moved_is_listed_truly_and_nothing_names_the_old_place(world) -> None:
    first, key = world.built("first", *LINES)
    world.deposit(first, key)
    second = world.machine("second")
    second.ensure(second.request(*LINES), store=world.access)
    folder = second.home / "envs" / key
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".pyc":
            assert os.fsencode(first.home) not in path.read_bytes(), path
    site = next(folder.glob("lib/*/site-packages"))
    checked = 0
    for record in site.glob("*.dist-info/RECORD"):
        for name, digest, size in csv.reader(record.read_text().splitlines()):
            if digest:
                data = (site / name).read_bytes()
                found = base64.urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()
                assert (digest, int(size)) == ("sha256=" + found, len(data)), name
                checked += 1
    assert checked > 8


def test_the_same_home_and_another_base_python_is_named_in_its_settings(world) -> None:
    first, key = world.built("first", "alpha")
    world.deposit(first, key)
    known = world.manifest(key)["links"].items()
    links = {path: "/opt/other/bin/python3" if os.path.isabs(to) else to for path, to in known}
    changed(world, key, links=links)
    folder = first.home / "envs" / key
    before = (folder / "pyvenv.cfg").read_text()
    (folder / ".runctl.json").unlink()
    found = first.ensure(first.request("alpha"), store=world.access)
    assert "restored" in first.events("step.finished")[-1]["summary"]
    assert first.run(found, "import alpha").returncode == 0
    home = next(line for line in before.splitlines() if line.startswith("home"))
    assert home in (folder / "pyvenv.cfg").read_text().splitlines()


def test_a_large_file_is_put_together_from_several_parts(world, monkeypatch) -> None:
    monkeypatch.setattr(env_parts, "PART", 1 << 20)
    first, key = world.built("first", "big")
    world.deposit(first, key)
    assert len(world.parts(key)) >= 4
    second = world.machine("second")
    found = second.ensure(second.request("big"), store=world.access)
    assert next((second.home / "envs" / key).glob("lib/*/site-packages/big/data.bin")).read_bytes() == LARGE
    assert second.run(found, "import big").returncode == 0


def test_checks_are_what_worked_where_it_was_built_and_a_crash_is_a_failure(world) -> None:
    world.index.add(wheel("crash", files={"crash/__init__.py": "import os; os.kill(os.getpid(), 11)\n"}))
    world.index.add(wheel("never", files={"never/__init__.py": "import not_there\n"}))
    first, key = world.built("first", "never", *LINES)
    world.deposit(first, key)
    checks = world.manifest(key)["checks"]
    assert ["import", "alpha"] in checks
    assert ["extension", "fast._heapq"] in checks
    assert ["entry", "tool:main"] in checks
    assert ["import", "never"] not in checks
    second = world.machine("second")
    found = second.ensure(second.request("crash"))
    said = second.run(found, "import sys; print(*sys.version_info[:3])").stdout
    version = tuple(map(int, said.split()))
    folder = str(second.home / "envs" / found.key)
    assert "crash ends the process" in env_proof.prove(found.python, folder, version, [["import", "crash"]])
    assert "its Python is" in env_proof.prove(found.python, folder, (3, 1, 0), [])
    assert "its Python is" in env_proof.prove(found.python, str(first.home), version, [])
    assert env_proof.prove(str(first.home / "no"), folder, version, []) == "its Python does not start"


def test_building_is_chosen_where_it_was_faster_so_far(world) -> None:
    first, key = world.built("first", "alpha")
    world.deposit(first, key)
    env_object.add_time(world.store, key, "restore", 500)

    def summary(name: str) -> str:
        machine = world.machine(name)
        machine.ensure(machine.request("alpha"), store=world.access)
        return f"{machine.events('step.finished')[0]['summary']} {machine.notices()}"

    assert "restored" in summary("second")  # one figure is not enough
    env_object.add_time(world.store, key, "restore", 500)
    assert "building it was faster so far" in summary("third")
    assert env_object.times(world.store, key)["restore"] == [500, 500]
    for _ in range(20):
        env_object.add_time(world.store, key, "restore", 0.001)
    assert len(env_object.times(world.store, key)["restore"]) == env_object.KEPT
    assert "restored" in summary("fourth")


def test_in_the_background_a_stored_environment_is_complete_at_once(world) -> None:
    first, key = world.built("first", "alpha")
    world.deposit(first, key)
    second = world.machine("second")
    found = second.ensure(second.request("alpha"), store=world.access, mode="background")
    assert found.complete
    assert second.run(found, "import alpha").returncode == 0


def test_a_long_first_line_goes_through_sh() -> None:
    script = b"#!/a/envs/k/bin/python\nprint(1)\n"
    assert env_move.moved(script, ["/a/envs/k"], "/b/a/envs/k") == b"#!/b/a/envs/k/bin/python\nprint(1)\n"
    long = "/b" * 70
    first, second, third, rest = env_move.moved(script, ["/a/envs/k"], long).split(b"\n", 3)
    assert first == b"#!/bin/sh"
    assert second == b"'''exec' \"" + long.encode() + b'/bin/python" "$0" "$@"'
    assert third == b"' '''"
    assert rest == b"print(1)\n"
    compile(b"\n".join((first, second, third, rest)), "script", "exec")


# What is not stored.


def site_of(machine: Machine, key: str) -> Path:
    found: Path = next((machine.home / "envs" / key).glob("lib/*/site-packages"))
    return found


def put(path: Path, text: str, when: float = 1) -> None:
    path.write_text(text)
    os.utime(path, (when, when))


def editable(site: Path) -> None:
    put(site / "mine.pth", "/home/me/project/src\n")


def linked(site: Path) -> None:
    (site / "cached").symlink_to("/var/cache/x")


def secret(site: Path) -> None:
    put(site / "direct_url.json", json.dumps({"url": "https://me:hunter2@example.com/x.whl"}))


def installed_by_hand(site: Path) -> None:
    put(site / "alpha" / "part.py", "x = 2\n", 2e9)


def pipe(site: Path) -> None:
    os.mkfifo(site / "pipe")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (editable, "mine.pth leads to /home/me/project/src"),
        (linked, "cached is a link out of it, to /var/cache/x"),
        (secret, "direct_url.json holds a password"),
        (installed_by_hand, "part.py was changed after it was built"),
        (pipe, "pipe is neither a file"),
    ],
)
def test_what_would_not_be_the_same_elsewhere_is_not_stored(change, says, world) -> None:
    first, key = world.built("first", "alpha")
    change(site_of(first, key))
    with pytest.raises(Unpackable, match=re.escape(says)):
        world.deposit(first, key)
    assert not (world.folder / "envs" / key / "manifest.json").exists()

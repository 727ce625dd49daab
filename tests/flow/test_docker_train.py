"""`runctl docker train`, and `train --image` out of a registry: pushed here, pulled there, by digest."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import until
from tests.awsworld import Client
from tests.conftest import Result, World
from tests.containerbox import IMAGE, engine_here, engine_or_skip
from tests.registrybox import ECR, USERS, RegistryBox, podman, registry
from tests.sshbox import SshBox, ssh_box
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox

SCRIPT = """
import os, sys
print("in", open("/etc/built").read(), "with", *sys.argv[1:])
print("runs as", os.environ["RUNCTL_RUN_NAME"])
"""
DOCKERFILE = f"""FROM {IMAGE}
RUN ["python3", "-c", "open('/etc/built', 'w').write('an own image')"]
"""
FILES = {"train.py": SCRIPT, "Dockerfile": DOCKERFILE, ".runctl.toml": ""}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which this computer's podman has ``IMAGE``."""
    return engine_or_skip(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("cloud")) as box:
        yield box.up()


class Laptop:
    """A user's computer with podman, and a project."""

    def __init__(self, world: World, engine: dict[str, str]) -> None:
        self.world = world
        world.env |= engine
        self.project = world.project(FILES, name="digits")

    def run(self, *argv: str, **more: str) -> Result:
        return self.world.runctl(*argv, cwd=self.project, stdin="", timeout=120, **more)

    def images(self) -> str:
        return podman(self.world.env, "images", "--quiet", "localhost/digits")


@pytest.fixture
def laptop(world: World, engine: dict[str, str]) -> Laptop:
    podman(engine, "rmi", "--ignore", "--force", "localhost/digits:latest")
    return Laptop(world, engine)


class Host:
    """An SSH host with a podman of its own that has no image."""

    def __init__(self, folder: Path, box: SshBox) -> None:
        self.folder, self.ssh = folder, box

    @property
    def home(self) -> Path:
        return self.folder / "there/.runctl"

    def events(self) -> list[dict[str, Any]]:
        text = "".join(path.read_text() for path in self.home.glob("runs/*/events.jsonl"))
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def status(self) -> dict[str, Any]:
        (path,) = self.home.glob("runs/*/status.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "host"
    (made / "there").mkdir(parents=True)
    return made


def host_of(folder: Path, world: World, env: dict[str, str]) -> Iterator[Host]:
    variables = {"HOME": str(folder / "there"), **engine_here(folder), **env}
    with ssh_box(folder / "ssh", env=variables) as box:
        world.env["RUNCTL_SSH_CONFIG"] = str(box.config)
        yield Host(folder, box)


@pytest.fixture
def open_registry(tmp_path: Path) -> Iterator[RegistryBox]:
    with registry(tmp_path / "registry") as box:
        yield box


@pytest.fixture
def host(folder: Path, world: World, open_registry: RegistryBox) -> Iterator[Host]:
    """A host that reaches the open registry."""
    yield from host_of(folder, world, open_registry.env)


def test_here_an_image_is_built_and_nothing_is_pushed(laptop: Laptop) -> None:
    done = laptop.run("docker", "train", "train.py", "--", "--epochs", "3")
    assert done.code == 0, done.err
    assert "in an own image with --epochs 3" in done.out
    assert laptop.images()


def test_a_dry_run_builds_nothing_and_says_what_would_be(laptop: Laptop) -> None:
    done = laptop.run("docker", "train", "train.py", "--dry-run")
    assert done.code == 0, done.err
    assert "image digits:latest would be built from Dockerfile" in done.err
    assert "environment from image digits:latest" in done.out
    assert not laptop.images()
    assert not laptop.world.machine.exists()


def test_a_machine_elsewhere_needs_a_registry_and_says_so_before_anything_is_built(
    laptop: Laptop, host: Host
) -> None:
    done = laptop.run("docker", "train", "train.py", "--on", "ssh://box")
    assert done.code == 2
    assert "error[registry-missing]" in done.err
    assert not laptop.images()
    assert not host.home.exists()


def test_a_host_runs_exactly_what_was_pushed_to_it_by_digest(
    laptop: Laptop, host: Host, open_registry: RegistryBox
) -> None:
    laptop.world.env |= open_registry.env
    done = laptop.run(
        "docker", "train", "train.py", "--on", "ssh://box", "--to", open_registry.address, "--", "there"
    )
    assert done.code == 0, done.err
    assert "in an own image with there" in done.out
    (spec,) = host.home.glob("runs/*/spec.json")
    assert json.loads(spec.read_text())["image"].startswith(f"{open_registry.address}/digits@sha256:")
    progress = [each for each in host.events() if each["kind"] == "step.progress" and each["step"] == "image"]
    assert progress
    assert {each["unit"] for each in progress} == {"layers"}
    assert progress[-1]["total"] >= progress[-1]["done"] >= 2
    again = laptop.run(
        "docker", "train", "train.py", "--on", "ssh://box", "--to", open_registry.address, "--", "again"
    )
    assert "in an own image with again" in again.out
    skipped = [each for each in host.events() if each.get("step") == "image" and each.get("skipped")]
    assert skipped  # the digest is the same: it is there


def test_ecr_takes_the_machines_own_credentials_and_keeps_no_login(
    laptop: Laptop, folder: Path, cloud: SandboxBox, tmp_path: Path
) -> None:
    with registry(tmp_path / "registry", users=USERS) as box:
        laptop.world.env |= cloud.values | box.env
        for host in host_of(folder, laptop.world, cloud.values | box.env):
            done = laptop.run("docker", "train", "train.py", "--on", "ssh://box", "--to", "ecr", "--", "ecr")
            assert done.code == 0, done.err
            assert "in an own image with ecr" in done.out
            (run,) = host.home.glob("runs/*")
            assert not (run / "login").exists()
            written = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
            assert b"auth-token" not in written
            assert b"MTIzNDU2Nzg5MDEyLWF1dGgtdG9rZW4" not in written
            pulled = [each for each in host.events() if each.get("step") == "image" and each.get("summary")]
            assert pulled[-1]["summary"] == "pulled by podman"


def test_a_registry_that_breaks_off_is_asked_again(
    laptop: Laptop, folder: Path, open_registry: RegistryBox
) -> None:
    name = f"127.0.0.1:{open_registry.proxy_port}/python:1"
    podman(laptop.world.env | open_registry.env, "push", IMAGE, f"{open_registry.address}/python:1")
    for host in host_of(folder, laptop.world, open_registry.env):
        open_registry.cut = 9
        (laptop.project / "train.py").write_text("print('pulled at last')\n")
        done = laptop.run("train", "train.py", "--on", "ssh://box", "--image", name)
        assert done.code == 0, done.err
        assert done.out == "pulled at last\n"
        assert open_registry.cut == 0
        assert host.status()["outcome"] == "succeeded"


def test_a_registry_that_does_not_know_the_machine_is_named(
    laptop: Laptop, folder: Path, cloud: SandboxBox, tmp_path: Path
) -> None:
    with registry(tmp_path / "registry", users=USERS.replace("AWS:", "somebody:")) as box:
        for host in host_of(folder, laptop.world, cloud.values | box.env):
            done = laptop.run("train", "train.py", "--on", "ssh://box", "--image", f"{ECR}/digits:1")
            assert done.code == 8
            assert "error[image-refused]" in done.err
            (run,) = host.home.glob("runs/*")
            assert not (run / "login").exists()


def test_a_machine_that_ecr_refuses_says_what_ecr_says(
    laptop: Laptop, folder: Path, cloud: SandboxBox, tmp_path: Path
) -> None:
    wrong = cloud.values | {"AWS_SECRET_ACCESS_KEY": "not-this-one"}
    with registry(tmp_path / "registry", users=USERS) as box:
        for _ in host_of(folder, laptop.world, wrong | box.env):
            done = laptop.run("train", "train.py", "--on", "ssh://box", "--image", f"{ECR}/digits:1")
            assert "error[image-refused]" in done.err
            assert "ECR gives this machine no login" in done.err


def test_ctrl_c_during_a_pull_leaves_it_going_and_a_cancel_ends_it(
    laptop: Laptop, host: Host, open_registry: RegistryBox
) -> None:
    open_registry.stalled = True
    name = f"127.0.0.1:{open_registry.proxy_port}/python:1"
    words = ("train", "train.py", "--on", "ssh://box", "--image", name)
    client = Client.start(laptop.world, *words, cwd=laptop.project)
    until(lambda: [each for each in host.events() if each.get("step") == "image"], "a pull")
    until(lambda: _pulls(name), "an engine that pulls")
    client.process.send_signal(signal.SIGINT)
    assert client.process.wait(timeout=20) == 130
    assert _pulls(name)
    assert laptop.run("cancel", "latest", "--grace", "0").code == 0
    until(lambda: host.status()["state"] == "ended", "an end")
    assert host.status()["outcome"] == "cancelled"
    until(lambda: not _pulls(name), "no engine any more")


@pytest.mark.parametrize("name", ["with, a comma", 'and "quotes"'])
def test_a_home_may_have_any_name(laptop: Laptop, name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    (laptop.project / "train.py").write_text(
        "import os, pathlib\npathlib.Path(os.environ['RUNCTL_OUTPUT_DIR'], 'left').write_text(os.getcwd())\n"
    )
    done = laptop.run("train", "train.py", "--image", IMAGE, RUNCTL_HOME=str(home))
    assert done.code == 0, done.err
    (run,) = home.glob("runs/*")
    assert (run / "outputs/left").read_text() == str(run / "code")


def _pulls(name: str) -> list[Path]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"podman") and name.encode() in words and b"pull" in words:
            found.append(path)
    return found

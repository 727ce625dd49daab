"""`runctl docker push` to real registries: one on loopback, and one that goes by ECR's name, with ECR's API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.containerbox import IMAGE, engine_or_skip
from tests.registrybox import ECR, USERS, RegistryBox, podman, registry
from tests.unit.sandbox.cloud_world import SandboxBox, sandbox

from runctl.aws.ecr import place_of
from runctl.engine import image_name

RUNCTL = str(Path(sys.executable).parent / "runctl")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which podman has ``IMAGE``, and the same as the image of a project called ``digits``."""
    env = engine_or_skip(tmp_path_factory.mktemp("podman"))
    podman(env, "tag", IMAGE, "localhost/digits:latest")
    return env


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBox]:
    with sandbox(tmp_path_factory.mktemp("cloud")) as box:
        yield box.up()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / ".runctl.toml").touch()
    return folder


def push(project: Path, env: dict[str, str], *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RUNCTL, "docker", "push", *argv],
        cwd=project,
        env=os.environ | {"RUNCTL_STATE_DIR": str(project.parent / "state")} | env | more,
        capture_output=True,
        text=True,
        check=False,
    )


def held_by(box: RegistryBox, env: dict[str, str], image: str) -> str:
    """What the registry has under a name, pulled anew."""
    return podman(env | box.env, "pull", "--quiet", image)


def test_an_image_is_pushed_and_named_by_the_digest_it_has_there(
    project: Path, engine: dict[str, str], tmp_path: Path
) -> None:
    with registry(tmp_path / "registry") as box:
        done = push(project, engine | box.env, "--to", box.address)
        assert done.returncode == 0, done.stderr
        name = done.stdout.strip()
        assert name.startswith(f"{box.address}/digits@sha256:")
        assert held_by(box, engine, name)
        again = push(project, engine | box.env, IMAGE, "--to", f"{box.address}/lab/other:7", "--json")
        answer = json.loads(again.stdout)
        assert answer["tag"] == f"{box.address}/lab/other:7"
        assert answer["repository_made"] is False
        assert held_by(box, engine, answer["tag"])


def test_ecr_gets_a_repository_and_a_login_of_your_credentials(
    project: Path, engine: dict[str, str], cloud: SandboxBox, tmp_path: Path
) -> None:
    with registry(tmp_path / "registry", users=USERS) as box:
        env = engine | cloud.values | box.env
        done = push(project, env, "--to", "ecr", "--json", "--log-file", str(tmp_path / "log"))
        assert done.returncode == 0, done.stderr + done.stdout
        answer = json.loads(done.stdout)
        assert answer["image"].startswith(f"{ECR}/digits@sha256:")
        assert answer["repository_made"] is True
        assert f"{ECR}:443" in box.asked
        made = cloud.client("ecr").describe_repositories()["repositories"]
        assert [each["repositoryName"] for each in made] == ["digits"]
        again = push(project, env, "digits", "--to", f"{ECR}/digits:2", "--json")
        assert json.loads(again.stdout)["repository_made"] is False
        assert json.loads(again.stdout)["digest"] == answer["digest"]
        assert "auth-token" not in (tmp_path / "log").read_text() + done.stderr


def test_a_login_that_was_made_for_one_push_is_gone_after_it(
    project: Path, engine: dict[str, str], cloud: SandboxBox, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with registry(tmp_path / "registry", users=USERS) as box:
        env = engine | cloud.values | box.env
        assert push(project, env, "--to", "ecr", TMPDIR=str(temporary)).returncode == 0
        assert not list(temporary.glob("runctl-*"))
        asked = subprocess.run(
            ["podman", "login", "--get-login", ECR], env=os.environ | env, capture_output=True, check=False
        )
        assert asked.returncode != 0


def test_who_may_not_push_is_told_so(
    project: Path, engine: dict[str, str], cloud: SandboxBox, tmp_path: Path
) -> None:
    others = USERS.replace("AWS:", "somebody:")
    with registry(tmp_path / "registry", users=others) as box:
        done = push(project, engine | cloud.values | box.env, "--to", "ecr")
        assert done.returncode == 3
        assert "error[image-push-refused]" in done.stderr
        plain = push(project, engine | box.env, "--to", box.address)
        assert plain.returncode == 3
        assert "error[image-push-refused]" in plain.stderr


def test_ecr_without_credentials_is_an_error_of_aws(
    project: Path, engine: dict[str, str], tmp_path: Path
) -> None:
    nobody = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1", "HOME": str(tmp_path)}
    done = push(project, engine | nobody, "--to", "ecr")
    assert done.returncode == 3
    assert "error[aws-no-credentials]" in done.stderr


@pytest.mark.parametrize(
    ("argv", "code", "status"),
    [
        ((), "registry-missing", 2),
        (("lab/train:3", "--to", "lab/other"), "registry-missing", 2),
        (("nothing-like-it", "--to", "127.0.0.1:9"), "image-not-here", 2),
        ((IMAGE, "--to", "127.0.0.1:9"), "image-push-network", 5),
    ],
)
def test_what_cannot_be_pushed_says_why(
    project: Path, engine: dict[str, str], argv: tuple[str, ...], code: str, status: int
) -> None:
    done = push(project, engine, *argv)
    assert f"error[{code}]" in done.stderr
    assert done.returncode == status


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train", ("", "train", "", "")),
        ("lab/train:3", ("", "lab/train", "3", "")),
        ("localhost:5000/train", ("localhost:5000", "train", "", "")),
        ("ghcr.io/lab/train:3@sha256:ab", ("ghcr.io", "lab/train", "3", "sha256:ab")),
        ("localhost/train:1", ("localhost", "train", "1", "")),
    ],
)
def test_a_name_is_read_in_its_parts(text: str, parts: tuple[str, ...]) -> None:
    assert image_name.read(text) == parts


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ("ghcr.io", "ghcr.io/lab/train:3"),
        ("127.0.0.1:5000", "127.0.0.1:5000/lab/train:3"),
        ("ghcr.io/me/other", "ghcr.io/me/other:3"),
        ("ghcr.io/me/other:9", "ghcr.io/me/other:9"),
    ],
)
def test_a_place_to_push_to_may_be_a_registry_a_repository_or_a_tag(to: str, target: str) -> None:
    assert image_name.target_of(image_name.read("lab/train:3"), to).text == target


def test_a_registry_of_ecr_is_known_by_its_name() -> None:
    assert place_of(ECR) == ("123456789012", "us-east-1")
    assert place_of("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn") == ("123456789012", "cn-north-1")
    assert place_of("123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example") is None

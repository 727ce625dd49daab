"""`runctl docker build` with a real podman: the project's own Dockerfile, one that is made, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pip
import pytest
from tests.agentbox import until
from tests.containerbox import IMAGE, engine_or_skip

from runctl.core.errors import UsageError
from runctl.project.containerfile import python_image

RUNCTL = str(Path(sys.executable).parent / "runctl")
LATEST = "docker.io/library/python:3.12-slim"  # the image a made Dockerfile begins with
SLOW = f"""FROM {IMAGE}
RUN ["python3", "-c", "import time; print('slow', flush=True); time.sleep(300)"]
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which podman has ``IMAGE``, and with pip in it what stands for Docker's own Python image."""
    folder = tmp_path_factory.mktemp("podman")
    env = engine_or_skip(folder)
    shutil.copytree(Path(pip.__file__).parent, folder / "context/pip")
    (folder / "context/Dockerfile").write_text(
        f"FROM {IMAGE}\nENV PYTHONPATH=/packages PIP_NO_INDEX=1\nCOPY pip /packages/pip\n"
    )
    argv = ["podman", "build", "--quiet", f"--tag={LATEST}", str(folder / "context")]
    subprocess.run(argv, env=os.environ | env, check=True, capture_output=True)
    return env


class Box:
    """A project folder, and runctl in it."""

    def __init__(self, folder: Path, engine: dict[str, str]) -> None:
        self.project = folder / "My Project"
        self.project.mkdir()
        (self.project / ".runctl.toml").touch()
        self.env = os.environ | engine | {"RUNCTL_STATE_DIR": str(folder / "state")}

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.project / name.replace("__", ".")).write_text(text)

    def call(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RUNCTL, "docker", *argv],
            cwd=self.project,
            env=self.env | more,
            capture_output=True,
            text=True,
            check=False,
        )

    def podman(self, *argv: str) -> str:
        done = subprocess.run(["podman", *argv], env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()


@pytest.fixture
def box(tmp_path: Path, engine: dict[str, str]) -> Box:
    return Box(tmp_path, engine)


def _wheel(folder: Path) -> str:
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("tiny.py", "WORD = 'installed'\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    return name


def test_the_projects_own_dockerfile_is_built_and_named_after_it(box: Box) -> None:
    box.write(Dockerfile=f"FROM {IMAGE}\nCOPY beside.txt /beside.txt\n", beside__txt="here\n")
    done = box.call("build")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "localhost/my-project:latest\n"
    assert "STEP 2/2: COPY beside.txt" in done.stderr
    printing = ["--entrypoint", "python3", done.stdout.strip(), "-c", "print(open('/beside.txt').read())"]
    assert box.podman("run", "--rm", "--network=host", "--pid=host", *printing) == "here"


def test_a_made_one_installs_the_requirements_and_leaves_the_project_itself_out(box: Box) -> None:
    wheel = _wheel(box.project)
    box.write(
        requirements__txt=f"-e .\n./{wheel}\n", setup__py="raise SystemExit('built')\n", secret__txt="no"
    )
    done = box.call("build", "--tag", "lab/made:3", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["image"], answer["file"], answer["engine"]) == ("localhost/lab/made:3", "", "podman")
    code = "import os, tiny; print(tiny.WORD, sorted(os.listdir('/opt/runctl')))"
    said = box.podman(
        "run", "--rm", "--network=host", "--pid=host", "--entrypoint", "python3", answer["id"], "-c", code
    )
    assert said == f"installed {sorted(['requirements.txt', wheel])}"


def test_what_is_printed_builds_by_hand(box: Box) -> None:
    wheel = _wheel(box.project)
    box.write(requirements__txt=f"./{wheel}\n")
    printed = box.call("build", "--print")
    assert printed.stdout.startswith("# made by `runctl docker build` from requirements.txt")
    assert not box.podman("images", "--quiet", "localhost/by-hand")
    box.write(Containerfile=printed.stdout)
    again = box.call("build", "--print", "--json")
    assert json.loads(again.stdout) == {
        "file": "Containerfile",
        "why": "Containerfile",
        "text": printed.stdout,
    }
    box.podman("build", "--tag", "localhost/by-hand", str(box.project))
    assert box.podman("images", "--quiet", "localhost/by-hand")


def test_a_step_that_fails_is_told_with_the_last_lines_and_no_tag_changes(box: Box) -> None:
    box.write(Dockerfile=f'FROM {IMAGE}\nRUN ["python3", "-c", "raise SystemExit(\'no luck\')"]\n')
    done = box.call("build", "--tag", "lab/never:1")
    assert done.returncode == 8
    assert "error[image-not-built]" in done.stderr
    assert "no luck" in done.stderr.partition("error[")[2]
    assert not box.podman("images", "--quiet", "localhost/lab/never")


def test_ctrl_c_ends_the_engine_and_leaves_no_tag(box: Box) -> None:
    box.write(Dockerfile=SLOW)
    with subprocess.Popen(
        [RUNCTL, "docker", "build", "--tag", "lab/cut:1"],
        cwd=box.project,
        env=box.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while process.stderr.readline().strip() != "slow":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.communicate()
    assert process.returncode == 130
    assert not said[0]
    assert not box.podman("images", "--quiet", "localhost/lab/cut")
    until(
        lambda: not [one for one in _commands() if b"time.sleep(300)" in one and b"lab/cut" in one],
        "no engine",
    )


@pytest.mark.parametrize(
    ("files", "argv", "code"),
    [
        ({}, ("build",), "dockerfile-nothing"),
        ({}, ("build", "--file", "other/Dockerfile"), "dockerfile-unreadable"),
        ({"environment__yml": "name: x\n"}, ("build",), "conda-environment"),
        (
            {"requirements__txt": "--index-url https://me:tell-nobody@host/\n"},
            ("build",),
            "dockerfile-not-made",
        ),
        ({"requirements__txt": "a\n", "__python-version": "2.7\n"}, ("build",), "dockerfile-python"),
    ],
)
def test_what_cannot_be_built_is_said_before_an_engine_is_asked(
    box: Box, files: dict[str, str], argv: tuple[str, ...], code: str
) -> None:
    box.write(**files)
    done = box.call(*argv, PATH="/nowhere")
    assert done.returncode == 2
    assert f"error[{code}]" in done.stderr
    assert "tell-nobody" not in done.stderr


def test_a_computer_without_an_engine_says_so(box: Box) -> None:
    box.write(Dockerfile=f"FROM {IMAGE}\n")
    done = box.call("build", PATH="/nowhere")
    assert done.returncode == 8
    assert "error[container-tool-missing]" in done.stderr


def test_a_script_with_metadata_decides_what_its_image_holds(box: Box) -> None:
    box.write(
        train__py='# /// script\n# requires-python = ">=3.13"\n# dependencies = ["numpy>=2; os_name == \'posix\'"]\n# ///\n'
    )
    done = box.call("build", "train.py", "--print")
    assert "FROM python:3.13-slim\n" in done.stdout
    assert done.stdout.endswith("""RUN python3 -m pip install 'numpy>=2; os_name == '"'"'posix'"'"''\n""")
    based = box.call("build", "train.py", "--print", "--base", "lab/cuda:1")
    assert "FROM lab/cuda:1\n" in based.stdout


@pytest.mark.parametrize(
    ("specifier", "image"),
    [
        ("", "python:3.12-slim"),
        (">=3.9", "python:3.12-slim"),
        (">=3.13", "python:3.13-slim"),
        ("<3.11", "python:3.10-slim"),
        ("==3.11.*", "python:3.11-slim"),
        ("==3.11.4", "python:3.11.4-slim"),
        ("~=3.10", "python:3.12-slim"),
        ("~=3.10.2", "python:3.10-slim"),
        ("!=3.12.*,>=3.10", "python:3.13-slim"),
        (">=3.12.7,<3.13", "python:3.12-slim"),
    ],
)
def test_a_python_image_fits_what_the_project_asks_for(specifier: str, image: str) -> None:
    assert python_image(specifier) == image


def test_no_python_image_is_taken_for_one_that_does_not_fit() -> None:
    with pytest.raises(UsageError) as caught:
        python_image("<3")
    assert caught.value.code == "dockerfile-python"


def _commands() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return found

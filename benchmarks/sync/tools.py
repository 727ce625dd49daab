"""The tools that are compared: how each brings a project to a machine, by SSH or through S3, as its users would.

Through S3 means up from the project and down on the machine. All SSH goes over one connection that is open already. What the
project ignores is given to each tool in its own way.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.sync.places import BUCKET
from benchmarks.world import BIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.sync.places import Places

REPOSITORY = Path(__file__).parents[2]
CLIENTS = REPOSITORY / ".venv" / "clients" / "bin"  # where `make test` puts clients of clouds
LONGEST = 100.0  # seconds after which a sync is given up; the table says so


@dataclass(frozen=True)
class Way:
    """Where it goes from and to: a project, an empty folder of the machine, a home for what tools remember."""

    project: Path
    there: Path
    home: Path
    prefix: str  # in the bucket
    places: Places
    control: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment of a tool: a home of its own."""
        home = {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache")}
        ours = {"RUNCTL_STATE_DIR": str(self.home / "state"), "PYTHONPATH": str(REPOSITORY)}
        quiet = {
            "S3_ENDPOINT_URL": self.places.s3_env["AWS_ENDPOINT_URL"],
            "GIT_CONFIG_NOSYSTEM": "1",
            "RESTIC_PASSWORD": "bench",
            "RESTIC_PROGRESS_FPS": "0.01",
        }
        return {**self.places.env, **self.places.s3_env, **home, **ours, **quiet}

    @property
    def ssh(self) -> list[str]:
        """``ssh`` to the machine."""
        return self.places.ssh_words(self.control)

    def run(self, words: list[str], *, cwd: Path | None = None) -> None:
        """To its end, in silence. Raises ``RuntimeError`` when it fails, ``TimeoutExpired`` when it takes too long."""
        done = subprocess.run(
            words, cwd=cwd or self.project, env=self.env, capture_output=True, timeout=LONGEST, check=False
        )
        if done.returncode:
            text = (done.stdout + done.stderr).decode(errors="replace")
            raise RuntimeError(f"{shlex.join(words)}: {text[-2000:]}")

    def shell(self, text: str) -> None:
        """The same with a line of shell."""
        self.run(["bash", "-o", "pipefail", "-c", text])

    def ignored(self) -> Iterator[str]:
        """The patterns of the project's own .gitignore that say what stays."""
        path = self.project / ".gitignore"
        lines = path.read_text().splitlines() if path.exists() else []
        return (line for line in lines if line and not line.startswith("!"))


@dataclass(frozen=True)
class Tool:
    """One tool: ``sync`` brings the project there, the first time and every time; ``begin`` is not measured."""

    name: str
    over: str  # ssh, s3
    sync: Callable[[Way], None]
    needs: tuple[str, ...] = ()
    begin: Callable[[Way], None] = lambda _way: None

    @property
    def missing(self) -> list[str]:
        """What would have to be installed."""
        return [name for name in self.needs if program(name) is None]


def program(name: str) -> str | None:
    """Where a program is: in this environment, in that of the clients, or on the path."""
    return shutil.which(name, path=f"{BIN}:{CLIENTS}:{os.environ['PATH']}")


def _words(name: str, *more: str) -> list[str]:
    found = program(name)
    assert found is not None
    return [found, *more]


def _ours(how: str) -> Callable[[Way], None]:
    def sync(way: Way) -> None:
        ssh = way.ssh if how != "store" else []
        ours = [sys.executable, "-m", "benchmarks.sync.ours", how, str(way.project), str(way.there)]
        way.run([*ours, *ssh])

    return sync


def _agent(way: Way) -> None:
    way.run([sys.executable, "-m", "benchmarks.sync.ours", "agent", str(way.project), str(way.there)])


def _rsync(way: Way) -> None:
    way.run(
        _words(
            "rsync", "-a", "--delete", "--compress", "--compress-choice=zstd", "--filter=:- .gitignore",
            "-e", shlex.join(way.ssh), f"{way.project}/", f"127.0.0.1:{way.there}/tree/",
        )
    )  # fmt: skip


def _tar(way: Way) -> None:
    left = " ".join(f"--exclude={shlex.quote(pattern.rstrip('/'))}" for pattern in way.ignored())
    new = shlex.quote(f"{way.there}/new")
    there = f"rm -rf {new} && mkdir -p {new} && zstd -dc | tar -x -C {new} && rm -rf {new}/../tree && mv {new} {new}/../tree"
    way.shell(f"tar -c {left} . | zstd -1 -T0 -q | {shlex.join(way.ssh)} 127.0.0.1 {shlex.quote(there)}")


def _git_begin(way: Way) -> None:
    shutil.rmtree(way.project / ".git", ignore_errors=True)
    name = ["-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "init.defaultBranch=main"]
    for folder in (way.project, way.there / "tree"):
        folder.mkdir(parents=True, exist_ok=True)
        way.run(["git", *name, "init", "-q"], cwd=folder)
    way.run(["git", "config", "receive.denyCurrentBranch", "updateInstead"], cwd=way.there / "tree")


def _git(way: Way) -> None:
    name = "-c user.name=b -c user.email=b@localhost -c gc.auto=0"
    url = f"127.0.0.1:{way.there}/tree"
    ssh = shlex.quote(shlex.join(way.ssh))
    way.shell(
        f"git {name} add -A && git {name} commit -q --allow-empty -m x && "
        f"GIT_SSH_COMMAND={ssh} git {name} push -q {shlex.quote(url)} HEAD:refs/heads/main"
    )


def _s5cmd(way: Way) -> None:
    left = [word for pattern in way.ignored() for word in ("--exclude", f"*{pattern.rstrip('/')}*")]
    s3 = f"s3://{BUCKET}/{way.prefix}/"
    way.run(_words("s5cmd", "sync", "--delete", *left, f"{way.project}/", s3))
    (way.there / "tree").mkdir(exist_ok=True)
    way.run(_words("s5cmd", "sync", "--delete", f"{s3}*", f"{way.there}/tree/"))


def _rclone(way: Way) -> None:
    left = [
        word
        for pattern in way.ignored()
        for word in ("--exclude", f"{pattern}**" if pattern.endswith("/") else pattern)
    ]
    s3 = f":s3,env_auth,provider=Other,force_path_style,region=us-east-1,endpoint='{way.env['AWS_ENDPOINT_URL']}':{BUCKET}/{way.prefix}"
    tuned = ["--transfers", "64", "--checkers", "64", "--fast-list", "--config", os.devnull]
    way.run(_words("rclone", "sync", *tuned, *left, f"{way.project}/", s3))
    way.run(_words("rclone", "sync", *tuned, s3, f"{way.there}/tree/"))


def _aws(way: Way) -> None:
    left = [word for pattern in way.ignored() for word in ("--exclude", f"*{pattern.rstrip('/')}*")]
    s3 = f"s3://{BUCKET}/{way.prefix}/"
    way.run(_words("aws", "s3", "sync", "--only-show-errors", "--delete", *left, f"{way.project}/", s3))
    way.run(_words("aws", "s3", "sync", "--only-show-errors", "--delete", s3, f"{way.there}/tree/"))


def _restic_words(way: Way, *more: str) -> list[str]:
    repository = f"s3:{way.env['AWS_ENDPOINT_URL']}/{BUCKET}/{way.prefix}"
    return _words("restic", "-q", "-r", repository, *more)


def _restic_begin(way: Way) -> None:
    way.run(_restic_words(way, "init"))


def _restic(way: Way) -> None:
    left = [word for pattern in way.ignored() for word in ("--exclude", pattern)]
    way.run(_restic_words(way, "backup", "--host", "b", *left, "."))
    way.run(_restic_words(way, "restore", "latest", "--target", f"{way.there}/tree"))


def _old_way(way: Way) -> None:
    """All of it as one tar.gz by one request, each time."""
    left = " ".join(f"--exclude={shlex.quote(pattern.rstrip('/'))}" for pattern in way.ignored())
    packed, there = shlex.quote(f"{way.home}/code.tar.gz"), shlex.quote(f"{way.there}/tree")
    one = f"{shlex.join(_words('s5cmd', 'cp'))} --concurrency 1 --part-size 5000"
    s3 = f"s3://{BUCKET}/{way.prefix}/code.tar.gz"
    way.shell(
        f"tar -cz {left} -f {packed} . && {one} {packed} {s3} && rm {packed} && mkdir -p {there} && "
        f"{one} {s3} {packed} && tar -xz -f {packed} -C {there} && rm {packed}"
    )


def _wire(way: Way) -> None:
    """Nothing but the bytes: what tar and zstd made of it before, over the open connection."""
    way.shell(
        f"{shlex.join(way.ssh)} 127.0.0.1 'cat > /dev/null' < {shlex.quote(str(way.home / 'wire.zst'))}"
    )


def _wire_begin(way: Way) -> None:
    left = " ".join(f"--exclude={shlex.quote(pattern.rstrip('/'))}" for pattern in way.ignored())
    way.shell(f"tar -c {left} . | zstd -3 -T0 -q > {shlex.quote(str(way.home / 'wire.zst'))}")


OURS = ("runctl, SSH", "runctl, SSH and S3", "runctl, S3 alone")
TOOLS = (
    Tool(OURS[0], "ssh", _ours("ssh"), begin=_agent),
    Tool(OURS[1], "s3", _ours("s3"), begin=_agent),
    Tool(OURS[2], "s3", _ours("store"), begin=_agent),
    Tool("the wire (tar, zstd -3, made before)", "ssh", _wire, ("zstd",), _wire_begin),
    Tool("rsync, zstd", "ssh", _rsync, ("rsync",)),
    Tool("tar, zstd -1", "ssh", _tar, ("zstd",)),
    Tool("git push", "ssh", _git, ("git",), _git_begin),
    Tool("s5cmd sync", "s3", _s5cmd, ("s5cmd",)),
    Tool("rclone sync, tuned", "s3", _rclone, ("rclone",)),
    Tool("restic", "s3", _restic, ("restic",), _restic_begin),
    Tool("aws s3 sync", "s3", _aws, ("aws",)),
    Tool("tar.gz, one PUT (the Rust tool's way)", "s3", _old_way, ("s5cmd",)),
)


def check(way: Way, expected: Mapping[str, bytes]) -> None:
    """Raise ``RuntimeError`` unless the machine has these contents: a sync that is fast and wrong is none."""
    trees = [way.there / "tree", *(way.there / "projects").glob("*/current")]
    tree = next(path for path in trees if path.is_dir())
    for name, data in expected.items():
        if (tree / name).read_bytes() != data:
            raise RuntimeError(f"{name} is not what it should be at {tree}")

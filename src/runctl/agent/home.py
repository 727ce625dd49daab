"""Where things are under $RUNCTL_HOME, and how a file there is replaced."""

from __future__ import annotations

import json
import os
import re

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

DIGEST = re.compile(r"[0-9a-f]{64}\Z")
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class RunFolder:
    """The paths of one run. Nothing is created here."""

    def __init__(self, path: str, run: str) -> None:
        self.id = run
        self.path = path
        self.spec = os.path.join(path, "spec.json")
        self.status = os.path.join(path, "status.json")
        self.events = os.path.join(path, "events.jsonl")
        self.output = os.path.join(path, "output.log")
        self.times = os.path.join(path, "output.times")
        self.cancel = os.path.join(path, "cancel.json")
        self.log = os.path.join(path, "supervisor.log")
        self.code = os.path.join(path, "code")
        self.checkpoints = os.path.join(path, "checkpoints")
        self.outputs = os.path.join(path, "outputs")
        self.data = os.path.join(path, "data")
        self.resume = os.path.join(path, "resume")
        self.secrets = os.path.join(path, "secrets")
        self.login = os.path.join(path, "login")  # a folder, as long as an image is being pulled
        self.keeper = os.path.join(path, "keeper.json")
        self.keeper_lock = os.path.join(path, "keeper.lock")
        self.keeper_log = os.path.join(path, "keeper.log")


class Home:
    """$RUNCTL_HOME. Paths only, but for ``create``."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.blobs = os.path.join(self.path, "blobs")
        self.data = os.path.join(self.path, "data")
        self.incoming = os.path.join(self.blobs, "incoming")
        self.projects = os.path.join(self.path, "projects")
        self.recipes = os.path.join(self.path, "recipes")
        self.trees = os.path.join(self.path, "trees")
        self.runs = os.path.join(self.path, "runs")
        self.lock = os.path.join(self.path, "launch.lock")
        self.lease = os.path.join(self.path, "lease.json")

    def blob(self, digest: object) -> str:
        """The file of a content; raises ``agent-request`` for anything but 64 lower-case hex digits."""
        if not isinstance(digest, str) or not DIGEST.match(digest):
            raise AgentFailure("agent-request", detail="not a digest: %r" % (digest,))
        return os.path.join(self.blobs, digest[:2], digest)

    def agent(self, digest: str) -> str:
        """Where the agent of that digest is kept, if it was."""
        return os.path.join(self.path, "agent", digest + ".py")

    def run(self, run: object) -> RunFolder:
        """The folder of a run; raises ``agent-request`` for an id that is no plain name."""
        if not isinstance(run, str) or not RUN.match(run):
            raise AgentFailure("agent-request", detail="not a run id: %r" % (run,))
        return RunFolder(os.path.join(self.runs, run), run)

    def all_runs(self) -> list[str]:
        """The ids of the runs on this machine, sorted, which is by time."""
        try:
            return sorted(name for name in os.listdir(self.runs) if RUN.match(name))
        except (FileNotFoundError, NotADirectoryError):
            return []


def make_folder(path: str) -> None:
    """Create ``path`` and what is missing above it, for the owner only; one that exists is left as it is."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_folder(os.path.dirname(path))
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        except FileNotFoundError as error:  # a file system that makes no folders, such as /proc
            raise AgentFailure("machine-home-not-writable", path=path, detail=str(error.strerror)) from error


def read_json(path: str) -> dict[str, Any] | None:
    """The object in ``path``; None when there is no such file or it holds something else."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: str, value: dict[str, Any]) -> None:
    """Replace ``path`` with ``value``: whoever reads sees the old or the new, also after a power cut."""
    part = "%s.%d.tmp" % (path, os.getpid())
    data = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(part, path)
    except OSError:
        try:
            os.unlink(part)
        except OSError:
            pass
        raise


def size_of(path: str) -> int:
    """Bytes in a file; 0 when there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def free_bytes(path: str) -> int:
    """What an ordinary user may still write below ``path`` or the nearest folder above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def remove_tree(path: str) -> None:
    """Delete a folder and all in it, following no link; what is not there is a success.

    A folder that forbids it (mode 0500, as a script may leave behind) is made writable first.
    """
    try:
        with os.scandir(path) as items:
            listed = list(items)
    except FileNotFoundError:
        return
    except PermissionError:
        os.chmod(path, 0o700)
        with os.scandir(path) as items:
            listed = list(items)
    for item in listed:
        if item.is_dir(follow_symlinks=False):
            remove_tree(item.path)
            continue
        try:
            os.unlink(item.path)
        except PermissionError:
            os.chmod(path, 0o700)
            os.unlink(item.path)
    try:
        os.rmdir(path)
    except PermissionError:
        os.chmod(os.path.dirname(path), 0o700)
        os.rmdir(path)

"""Docker or podman on this computer: found, and told to build and to push. What it says is passed on line by line."""

from __future__ import annotations

import re
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runctl.core.catalogue import known
from runctl.core.errors import UnreachableError
from runctl.core.events import CommandRun, Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.ports import Transport

LAST: Final = 8  # lines of a command that failed which are told with the error
_ENDS: Final = re.compile(rb"[\r\n]+")
_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_DIGEST: Final = re.compile(r"\bsha256:[0-9a-f]{64}\b")
_REFUSED: Final = (
    "unauthorized",
    "denied",
    "authentication required",
    "no basic auth",
    "forbidden",
    "invalid username",
)
_NETWORK: Final = (
    "dial tcp",
    "timeout",
    "connection re",
    "no such host",
    "eof",
    "tls:",
    "x509:",
    "http response",
)
_NOT_HERE: Final = ("does not exist locally", "image not known", "no such image", "not found locally")


@dataclass
class ContainerTool:
    """One engine. ``builder`` is the command that builds with it; each call runs to its end or a cancel."""

    program: str  # docker or podman
    version: str
    builder: tuple[str, ...]
    transport: Transport
    emit: Emit
    clock: Clock
    cancel: CancelToken

    def build(self, *, tag: str, file: Path, context: Path, platform: str = "") -> str:
        """Build ``file`` and tag it; the image's id. The tag is set when all has worked, or not at all.

        Raises:
            InstallError: ``image-not-built``, with what the engine said last.
            Cancelled: the engine and what it had started were ended; no tag has changed.
        """
        with tempfile.TemporaryDirectory(prefix="runctl-") as folder:
            note = Path(folder, "id")
            argv = [*self.builder, f"--tag={tag}", f"--file={file}", f"--iidfile={note}"]
            argv += [f"--platform={platform}"] if platform else []
            code, last = self.run([*argv, str(context)])
            if code != 0:
                raise known("image-not-built", image=tag, detail="\n".join(last) or f"exit status {code}")
            return note.read_text().strip()

    def name_of(self, image: str) -> str:
        """The full name of an image that is here, as its engine has it: ``localhost/a:1`` for podman's ``a:1``.

        Raises:
            UsageError: ``image-not-here``.
        """
        ask = [self.program, "image", "inspect", "--format", "{{range .RepoTags}}{{println .}}{{end}}", image]
        code, said = self.run(ask, aloud=False)
        if code != 0:
            raise known("image-not-here", image=image, engine=self.program)
        short = image if ":" in image.rpartition("/")[2] else f"{image}:latest"
        ours = [name for name in said if name == short or name.endswith(f"/{short}")]
        return ours[0] if ours else image

    def push(self, image: str, target: str, *, login: Login | None = None) -> str:
        """Send an image that is here to ``target``, a name with its registry; the digest it has there. Safe to repeat.

        Raises:
            RunctlError: ``image-not-here``, ``image-push-refused``, ``image-push-network``, ``image-not-pushed``.
            Cancelled: the engine was ended; layers that arrived stay with the registry, no tag has changed there.
        """
        with tempfile.TemporaryDirectory(prefix="runctl-") as folder:
            as_who = [] if login is None else self._log_in(login, Path(folder))
            if self.program == "podman":
                note = Path(folder, "digest")
                auth = [f"--authfile={folder}/auth.json"] if login else []
                code, last = self.run(["podman", "push", f"--digestfile={note}", *auth, image, target])
                if code == 0:
                    return note.read_text().strip()
            else:
                if image != target:
                    self._must(["docker", "tag", image, target], target)
                code, last = self.run([*as_who, "docker", "push", target])
                if code == 0:
                    found = [each[0] for line in last if (each := _DIGEST.search(line))]
                    return found[-1]
        raise failed_push(target, last, code)

    def _log_in(self, login: Login, folder: Path) -> list[str]:
        """Log in, in ``folder`` alone; what has to stand before a command of docker that is to use it."""
        if self.program == "podman":
            before, file = [], [f"--authfile={folder}/auth.json"]
        else:
            # its own folder has no contexts: where the daemon listens has to be said
            _, said = self.run(
                ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], aloud=False
            )
            host = [f"DOCKER_HOST={said[-1]}"] if said and "://" in said[-1] else []
            before, file = ["env", f"DOCKER_CONFIG={folder}", *host], []
        words = ["login", f"--username={login.user}", "--password-stdin", *file, login.registry]
        argv = [*before, self.program, *words]
        code, last = self.run(argv, stdin=login.password, aloud=False)
        if code != 0:
            raise failed_push(login.registry, last, code)
        return before

    def _must(self, argv: list[str], image: str) -> None:
        code, last = self.run(argv, aloud=False)
        if code != 0:
            raise failed_push(image, last, code)

    def run(self, argv: Sequence[str], *, stdin: str = "", aloud: bool = True) -> tuple[int, list[str]]:
        """Run a command: its exit status and last lines. ``aloud``: each line is a notice as it comes."""
        return _run(self.transport, argv, self.emit, self.clock, self.cancel, stdin=stdin, aloud=aloud)


@dataclass(frozen=True)
class Login:
    """Who to be at a registry. The password is given to the engine's stdin, and shows nowhere."""

    registry: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.registry!r}, {self.user!r})"


def find_tool(transport: Transport, *, emit: Emit, clock: Clock, cancel: CancelToken) -> ContainerTool:
    """The first of docker with buildx, docker, podman that answers. Reads only.

    Raises:
        InstallError: ``container-tool-missing``, saying why each one that is installed does not answer.
    """
    why = []
    for program, ask in (
        ("docker", ("version", "--format", "{{.Server.Version}}")),
        ("podman", ("info", "--format", "{{.Version.Version}}")),
    ):
        try:
            code, said = _run(transport, (program, *ask), emit, clock, cancel)
        except UnreachableError:
            continue
        if code != 0 or not said:
            why.append(f"{program}: {(said or [f'exit status {code}'])[-1]}")
            continue
        builder: tuple[str, ...] = (program, "build")
        if (
            program == "docker"
            and _run(transport, ("docker", "buildx", "version"), emit, clock, cancel)[0] == 0
        ):
            builder = ("docker", "buildx", "build", "--load", "--progress=plain")
        return ContainerTool(program, said[-1].split()[0], builder, transport, emit, clock, cancel)
    raise known("container-tool-missing", detail="; ".join(why) or "neither docker nor podman is installed")


def _run(
    transport: Transport,
    argv: Sequence[str],
    emit: Emit,
    clock: Clock,
    cancel: CancelToken,
    *,
    stdin: str = "",
    aloud: bool = False,
) -> tuple[int, list[str]]:
    last: deque[str] = deque(maxlen=LAST)

    def say(line: str) -> None:
        last.append(line)
        if aloud:
            emit(Notice("info", line))

    streams = (_Lines(say), _Lines(say))
    begun = clock.monotonic()
    code: int | None = None
    try:
        done = transport.exec(
            argv,
            stdin=(stdin.encode(),) if stdin else (),
            on_output=streams[0].feed,
            on_errors=streams[1].feed,
            cancel=cancel,
        )
        code = done.exit_code
    finally:
        emit(CommandRun(tuple(argv), "here", clock.monotonic() - begun, code))
    for stream in streams:
        stream.close()
    return code, list(last)


class _Lines:
    """Cuts bytes into lines; a state of a line that was drawn over counts as one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._rest = say, b""

    def feed(self, data: bytes) -> None:
        *whole, self._rest = _ENDS.split(self._rest + data)
        for raw in whole:
            self._tell(raw)

    def close(self) -> None:
        self._tell(self._rest)
        self._rest = b""

    def _tell(self, raw: bytes) -> None:
        text = _ANSI.sub("", raw.decode("utf-8", "replace")).rstrip()
        if text:
            self._say(text)


def failed_push(target: str, last: Sequence[str], code: int) -> Exception:
    """What an engine means by its last words about a push or a login. Pure."""
    words = "\n".join(last).lower()
    detail = last[-1] if last else f"exit status {code}"
    for name, signs in (
        ("image-not-here", _NOT_HERE),
        ("image-push-refused", _REFUSED),
        ("image-push-network", _NETWORK),
    ):
        if any(sign in words for sign in signs):
            return known(name, image=target, detail=detail, engine="the engine")
    return known("image-not-pushed", image=target, detail=detail)

"""One command by itself: started once, fed from files, its output in files, ended when nobody asks for it."""

from __future__ import annotations

import os
import time

from runctl.transports.ssm.machine.folder import mark, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORSAKEN = 90.0  # seconds without a question
KEPT = 60.0  # seconds after the end
ABANDONED = 86400.0  # seconds after which files go whose command was killed with the machine
GRACE = 0.5  # seconds between TERM and KILL


def give(folder: str, number: str, url: str, digest: str, last: str) -> None:
    """Bring one piece of the input, once however often it is said."""
    if told(folder, "given." + number) is not None:
        return
    try:
        if url != "-":
            fetch(url, digest, os.path.join(folder, "in." + number))
    except OSError as error:
        mark(folder, "refused", str(error).encode(errors="replace"))
        return
    mark(folder, "given." + number, b"")
    if last == "end":
        mark(folder, "end", str(int(number) + (url != "-")).encode())


def fetch(url: str, digest: str, path: str) -> None:
    """A file from a URL. Raises OSError, also when it is not what the digest says."""
    import hashlib
    from urllib.request import urlopen

    found = hashlib.sha256()
    with urlopen(url, timeout=60) as reader, open(path + ".new", "wb") as file:  # noqa: S310 - our own client's
        while True:
            piece = reader.read(1 << 20)
            if not piece:
                break
            found.update(piece)
            file.write(piece)
    if found.hexdigest() != digest:
        raise OSError("the input did not arrive as it was sent")
    os.replace(path + ".new", path)


def start(folder: str, argv: list[str]) -> None:
    """Begin the command on its own, unless it was begun before."""
    os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    try:
        run(folder, argv)
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asks has to hear of it
        mark(folder, "exit", b"!%s" % str(error).encode(errors="replace"))
    limit = time.monotonic() + KEPT
    while time.monotonic() < limit:
        time.sleep(1)
    sweep(folder)
    os._exit(0)


def sweep(folder: str) -> None:
    """Remove the files of a command, and of others that are older than a day."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    for other in os.scandir(os.path.dirname(folder)):
        if time.time() - other.stat().st_mtime > ABANDONED:
            shutil.rmtree(other.path, ignore_errors=True)


def run(folder: str, argv: list[str]) -> None:
    """The command from its beginning to its exit status."""
    import signal
    import subprocess

    home = os.path.expanduser("~")
    with open(os.path.join(folder, "out"), "wb") as out, open(os.path.join(folder, "err"), "wb") as err:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            bufsize=0,
            start_new_session=True,
            cwd=home if os.path.isdir(home) else "/",
        )
        feeder = Feeder(folder, process.stdin)
        stopped = 0.0
        while process.poll() is None:
            if not feeder.feed():
                time.sleep(0.02)
            if stopped and time.monotonic() - stopped > GRACE:
                signal_all(process.pid, signal.SIGKILL)
            elif not stopped and is_over(folder):
                stopped = time.monotonic()
                signal_all(process.pid, signal.SIGTERM)
    refused = told(folder, "refused")
    mark(folder, "exit", b"%d" % process.returncode if refused is None else b"!%s" % refused)


class Feeder:
    """Pieces of the input, in order, into a pipe."""

    def __init__(self, folder: str, pipe: Any) -> None:
        self._folder = folder
        self._pipe = pipe
        self._number = 0
        self._file: Any = None
        self._left = b""
        os.set_blocking(pipe.fileno(), False)

    def feed(self) -> bool:
        """Whether something moved."""
        if self._pipe is None or (not self._left and not self._next()):
            return False
        try:
            self._left = self._left[os.write(self._pipe.fileno(), self._left) :]
        except BlockingIOError:
            return False
        except OSError:
            self._close()
        return True

    def _next(self) -> bool:
        path = os.path.join(self._folder, "in.%d" % self._number)
        if self._file is None:
            try:
                self._file = open(path, "rb")  # noqa: SIM115 - read from bit by bit
            except OSError:
                if told(self._folder, "end") == str(self._number).encode():
                    self._close()
                return False
        self._left = self._file.read(1 << 16)
        if not self._left:
            self._file.close()
            self._file = None
            os.unlink(path)
            self._number += 1
        return bool(self._left)

    def _close(self) -> None:
        self._pipe.close()
        self._pipe = None


def is_over(folder: str) -> bool:
    """Whether the command is to end: it was said, its input did not come, or nobody has asked for long."""
    if told(folder, "stop") is not None or told(folder, "refused") is not None:
        return True
    try:
        return time.time() - os.stat(os.path.join(folder, "asked")).st_mtime > FORSAKEN
    except OSError:
        return not os.path.isdir(folder)


def signal_all(pid: int, number: int) -> None:
    """Signal the command and what it started, unless it left the session."""
    try:
        os.killpg(pid, number)
    except OSError:
        pass

"""Runs one command by itself, its output in files, for a client that can only ask now and then.

`start OP WAIT WORDS GIVEN` begins it (once, however often it is said) and then reads; `read OP WAIT URL OUT ERR` tells what
there is from these offsets on; `give OP GIVEN` brings input; `stop OP` ends it. GIVEN is a number from 0, the address of
a piece of the input or `-`, its digest, and `end` when it is the last, else `more`. An answer is one line, the parts of which are: the exit status,
or `-` while it runs, or `!` and why it never began; how many bytes of stdout and of stderr follow; how many more of
stdout are there; and the bytes, compressed and in base64. They fit in what Systems Manager keeps of a command's output
(24,000 characters); more goes to the URL, if there is one, and the line says so with a `@`.

The command ends when nobody has asked for a minute and a half, and its files a while after it.
"""

from __future__ import annotations

import binascii
import os
import sys
import time
import zlib

from runctl.transports.ssm.machine import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDERS = "~/.runctl/commands"
WINDOW = 14_000  # compressed bytes in an answer: 18,700 characters
STORED = 8 << 20  # bytes in an object
WORTH_STORING = 256 << 10  # bytes of backlog
GATHER = 0.2  # seconds for more output to come along with the first
FORSAKEN = 90.0  # seconds without a question
KEPT = 60.0  # seconds after the end
ABANDONED = 86400.0  # seconds after which files go whose command was killed with the machine
GRACE = 0.5  # seconds between TERM and KILL
ERR_KEPT = 64 << 10


def main(words: list[str]) -> None:
    """Do what the first word says."""
    action, op = words[:2]
    folder = os.path.join(os.path.expanduser(FOLDERS), op)
    if action == "start":
        start(folder, wire.words(binascii.a2b_base64(words[3])))
        give(folder, *words[4:])
        answer(folder, float(words[2]), "-", 0, 0)
    elif action == "give":
        give(folder, *words[2:])
    elif action == "read":
        answer(folder, float(words[2]), words[3], int(words[4]), int(words[5]))
    elif action == "stop":
        mark(folder, "stop", b"")
        waited(folder, 2.0)


def mark(folder: str, name: str, content: bytes) -> None:
    """Write a file of the folder, whole or not at all; one that is gone has nothing to be told."""
    path = os.path.join(folder, name)
    try:
        with open(path + ".new", "wb") as file:
            file.write(content)
        os.replace(path + ".new", path)
    except OSError:
        pass


def told(folder: str, name: str) -> bytes | None:
    """What a file of the folder says; None when it is not there."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError:
        return None


def size(folder: str, name: str) -> int:
    """How long a file of the folder is."""
    try:
        return os.stat(os.path.join(folder, name)).st_size
    except OSError:
        return 0


def part(folder: str, name: str, start: int, length: int) -> bytes:
    """A stretch of a file."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            file.seek(start)
            return file.read(length)
    except OSError:
        return b""


def waited(folder: str, seconds: float) -> None:
    """Return once the exit status is there, or after so long."""
    limit = time.monotonic() + seconds
    while told(folder, "exit") is None and time.monotonic() < limit:
        time.sleep(0.02)


# --- asking -------------------------------------------------------------------------------------------------------


def answer(folder: str, wait: float, url: str, out_at: int, err_at: int) -> None:
    """Wait for something new, and tell it. Of stderr only the end counts: its offset begins there."""
    mark(folder, "asked", b"")
    limit = time.monotonic() + wait
    if not os.path.isdir(folder):
        sys.stdout.write("~!it is not known here any more 0 0 0 -\n")
        return
    while told(folder, "exit") is None and size(folder, "out") <= out_at and time.monotonic() < limit:
        time.sleep(0.02)
    if told(folder, "exit") is None:
        time.sleep(GATHER)
    ended = (told(folder, "exit") or b"-").decode()  # before the sizes: what is there now is then all
    length = size(folder, "out")
    sys.stdout.write(message(folder, ended, url, (out_at, length), err_at))


def message(folder: str, ended: str, url: str, out: tuple[int, int], err_at: int) -> str:
    """The answer's line."""
    at, length = out
    if url != "-" and length - at > WORTH_STORING:
        stretch = part(folder, "out", at, STORED)
        if stored(url, stretch):
            return "~%s %d 0 %d @\n" % (ended, len(stretch), length - at - len(stretch))
    stretch = part(folder, "out", at, 16 * WINDOW)
    packed = zlib.compress(stretch, 6)
    while len(packed) > WINDOW:
        stretch = stretch[: len(stretch) * WINDOW // len(packed) * 9 // 10]
        packed = zlib.compress(stretch, 6)
    more, errors = length - at - len(stretch), b""
    if ended != "-" and not more:
        start = max(0, size(folder, "err") - ERR_KEPT) + err_at
        more = size(folder, "err") - start
        if len(stretch) < WINDOW // 4:  # else the next answer brings them
            errors = part(folder, "err", start, WINDOW // 2)
            packed = zlib.compress(stretch + errors, 6)
            more -= len(errors)
    text = binascii.b2a_base64(packed, newline=False).decode()
    return "~%s %d %d %d %s\n" % (ended, len(stretch), len(errors), more, text)


def stored(url: str, data: bytes) -> bool:
    """Whether the bytes are now at the URL."""
    from urllib.request import Request, urlopen

    try:
        request = Request(url, data=data, method="PUT", headers={"Content-Type": ""})  # noqa: S310 - our own client's
        with urlopen(request, timeout=60):  # noqa: S310
            return True
    except OSError:
        return False


# --- running ------------------------------------------------------------------------------------------------------


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


if __name__ == "__main__":
    main(sys.argv[1:])

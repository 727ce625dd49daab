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
from runctl.transports.ssm.machine.folder import mark, part, size, told
from runctl.transports.ssm.machine.running import give, start

FOLDERS = "~/.runctl/commands"
WINDOW = 14_000  # compressed bytes in an answer: 18,700 characters
STORED = 8 << 20  # bytes in an object
WORTH_STORING = 256 << 10  # bytes of backlog
GATHER = 0.2  # seconds for more output to come along with the first
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


if __name__ == "__main__":
    main(sys.argv[1:])

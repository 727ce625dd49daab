"""What is said to the shell of the other side: the one place where an argv becomes a line.

sshd hands a command to the user's login shell, whichever that is. The line is made of characters that every shell
(sh, bash, zsh, csh, fish) takes as they are between single quotes: a backslash, a quote, an exclamation mark, a newline
and whatever is not ASCII travel as octal numbers, which the printf of the plain ``sh`` that is started turns back.
"""

from __future__ import annotations

import re
import secrets
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOISE_KEPT = 64 * 1024  # bytes of what start-up files of the shell print before the command begins
_UNSAFE = re.compile(rb"[^ -~]|[\\'!]")
_DECODE = """exec sh -c 'eval "$(printf "%b" "$0")"' """
# It runs in the session that sshd makes for each command and whose leader this shell is: $$ names all of it.
_RUN = "printf '%s\\n' {mark}:$$; set -- {argv}; \"$@\"; c=$?; printf '%s\\n' {mark}:$c >&2; exit $c"
# $1 the leader: TERM to its group, half a second later KILL to what is left of it
_END = (
    'kill -s TERM -- "-$1" 2>/dev/null || exit 0; i=0; '
    'while kill -s 0 -- "-$1" 2>/dev/null && [ $i -lt 5 ]; do sleep 0.1 || sleep 1; i=$((i+1)); done; '
    'kill -s KILL -- "-$1" 2>/dev/null; exit 0'
)


def line(text: str) -> str:
    """A command for sshd that makes ``sh`` evaluate ``text``. Pure."""
    raw = text.encode("utf-8", "surrogateescape")
    coded = _UNSAFE.sub(lambda found: b"\\0%03o" % found[0][0], raw)
    return f"{_DECODE}'{coded.decode('ascii')}'"


class Command:
    """One command there: how it is said, and what of its output is its own.

    Its first line of output says who it is, its last of stderr how it ended: what a start-up file prints before is not
    taken for output, and an end that is not said is a link that broke, whatever the status is that ``ssh`` gives.
    """

    def __init__(
        self,
        argv: Sequence[str],
        on_output: Callable[[bytes], None] | None = None,
        on_errors: Callable[[bytes], None] | None = None,
    ) -> None:
        mark = f"runctl-{secrets.token_hex(8)}"
        self._mark = mark.encode()
        self._on_output = on_output
        self._on_errors = on_errors
        self._head = bytearray()
        self._held = b""  # of stderr: what may be the beginning of the last line
        self.line = line(_RUN.format(mark=mark, argv=shlex.join(argv)))
        self.leader = 0  # the process there, once it has begun

    def take(self, chunk: bytes) -> None:
        """The next bytes of stdout."""
        own = chunk if self.leader else self.take_head(chunk)
        if own and self._on_output is not None:
            self._on_output(own)

    def take_head(self, chunk: bytes) -> bytes:
        """The next bytes of stdout while the command may not have begun; gives what of them is its output."""
        self._head += chunk
        found = re.search(rb"%s:(\d+)\n" % self._mark, self._head)
        if found is None:
            del self._head[:-NOISE_KEPT]
            return b""
        self.leader = int(found[1])
        own = bytes(self._head[found.end() :])
        self._head.clear()
        return own

    def take_errors(self, chunk: bytes) -> None:
        """The next bytes of stderr."""
        if self._on_errors is None:
            return
        own, mark, _ = (self._held + chunk).partition(self._mark)
        maybe = range(0 if mark else len(self._mark) - 1, 0, -1)
        kept = next((n for n in maybe if own.endswith(self._mark[:n])), 0)
        self._held = own[len(own) - kept :]
        if own[: len(own) - kept]:
            self._on_errors(own[: len(own) - kept])
        if mark:  # it has ended
            self._on_errors = None

    def ending(self, stderr: bytes) -> tuple[int | None, bytes]:
        """The command's own exit status, None where it did not say it, and its stderr."""
        before, mark, after = stderr.rpartition(self._mark + b":")
        status, newline, rest = after.partition(b"\n")
        if not mark or not newline or not status.isdigit():
            return None, stderr
        return int(status), before + rest

    @property
    def noise(self) -> str:
        """What was printed by something else while the command had not begun."""
        return self._head.decode(errors="replace").strip()


def ending_of(leader: int) -> str:
    """A command for sshd that ends what ``leader`` leads."""
    return line(f"set -- {leader}; {_END}")

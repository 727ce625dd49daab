"""The entry point ``runctl``, and the answers that need nothing but the table of commands.

``--version`` and the root ``--help`` are asked by prompts, scripts and completions, thousands of times; they are
answered here before argparse, dataclasses or anything else is imported. Everything else goes to ``cli.dispatch``.
"""

from __future__ import annotations

import os
import sys

from runctl.cli.commands import root_help, version_line

TYPE_CHECKING = False  # typing itself costs more than everything above
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

BROKEN_PIPE_STATUS = 141  # 128 + SIGPIPE, what a shell reports for a writer whose reader left


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``runctl`` with ``argv`` and give its exit status; with the process's own, end the process with it.

    Never raises for a failure of the command: errors are shown, and become the status of the table in
    ``core.errors``. A reader that closes our stdout ends us quietly with 141, Ctrl+C with 130.
    """
    if argv is None:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by the shell (`>&-`): what is said goes nowhere
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends
        _leave(_status_of(sys.argv[1:]))
    return _status_of(list(argv))


def _leave(status: int) -> NoReturn:
    """End the process now: taking a whole interpreter apart is 4 ms that nobody waits for gladly.

    What a command holds (files, the index, the terminal) is closed by then; only the streams are left to flush.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # it is, where the process was started with the descriptor closed
                stream.flush()
        except BrokenPipeError:
            status = status or BROKEN_PIPE_STATUS
        except (OSError, ValueError):  # a full disk, a closed stream
            status = status or os.EX_IOERR
    os._exit(status)


def _status_of(words: list[str]) -> int:
    try:
        if "_ARGCOMPLETE" in os.environ:
            from runctl.cli.completion import answer  # noqa: PLC0415 - only while completing

            return answer()
        if not words or words in (["--help"], ["-h"], ["help"]):
            sys.stdout.write(root_help())
        elif words == ["--version"]:
            sys.stdout.write(version_line())
        else:
            from runctl.cli.dispatch import dispatch  # noqa: PLC0415 - the light answers above do without it

            return dispatch(words)
        sys.stdout.flush()
    except BrokenPipeError:
        return forget_stdout()
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # stdout is a full disk, or closed
        os.write(2, f"runctl: cannot write to stdout: {error.strerror}\n".encode())
        return os.EX_IOERR
    return 0


def forget_stdout() -> int:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again; gives the exit status."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
    return BROKEN_PIPE_STATUS

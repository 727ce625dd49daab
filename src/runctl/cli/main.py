"""The entry point ``runctl``: the table of commands, and answers that need nothing but that table.

``--version`` and the root ``--help`` are asked by prompts, scripts and completions, thousands of times; they are
answered here before argparse, dataclasses or anything else is imported. Everything else goes to ``cli.dispatch``.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing itself costs more than everything above
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

# name -> (module, summary, group); the order is the order of the help page
COMMANDS: dict[str, tuple[str, str, str]] = {
    "train": ("runctl.cli.train", "run a script on a machine and follow it", "Run"),
    "runs": ("runctl.cli.runs", "list runs, newest first", "Watch"),
    "show": ("runctl.cli.show", "show one run: state, steps, cost, what to type next", "Watch"),
    "logs": ("runctl.cli.logs", "print a run's output, from any point, and follow it", "Watch"),
    "attach": ("runctl.cli.attach", "follow a run again, as train does", "Watch"),
    "cancel": ("runctl.cli.cancel", "end a run and every process it started", "Watch"),
    "rm": ("runctl.cli.rm", "delete ended runs, here and on their machine", "Watch"),
    "clean": ("runctl.cli.clean", "release machines that may still be billed", "Watch"),
    "stats": ("runctl.cli.stats", "success rates and time per step over all runs", "Watch"),
    "checkpoint": ("runctl.cli.checkpoint", "list, describe and verify checkpoints", "Checkpoints"),
    "init": ("runctl.cli.init", "write a short commented .runctl.toml", "Project"),
    "project": ("runctl.cli.project", "show the project root and which files travel", "Project"),
    "config": ("runctl.cli.config", "show, check and change settings", "Project"),
    "explain": ("runctl.cli.explain", "explain an error code", "Help"),
    "completion": ("runctl.cli.completion", "print the completion script of a shell", "Help"),
}

# commands whose script takes arguments after `--`
TAKES_SCRIPT_ARGS = frozenset({"train"})

# commands that print events under --json; the others print one value
TELLS_EVENTS = frozenset({"train", "attach", "logs"})

# spellings, the name of the value (empty: a flag), help
GLOBAL_OPTIONS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("--json",), "", "one JSON object per event on stdout, errors included"),
    (("-q", "--quiet"), "", "say nothing but errors and data"),
    (("-v", "--verbose"), "", "show every command executed and intermediate results"),
    (("--debug",), "", "show tracebacks and every call with its timing"),
    (("-y", "--yes"), "", "answer yes to every question"),
    (("--color",), "WHEN", "auto, always or never; NO_COLOR is honoured"),
    (("--log-file",), "PATH", "also write a structured log (JSON lines) to PATH"),
    (("--config",), "FILE", "read FILE in place of the project's own configuration"),
)

BROKEN_PIPE_STATUS = 141  # 128 + SIGPIPE, what a shell reports for a writer whose reader left


def root_help() -> str:
    """The page of ``runctl --help``, from the tables alone."""
    width = max(map(len, COMMANDS)) + 2
    lines = [
        "runctl: take a training script on your laptop and run it on a machine.",
        "",
        "usage: runctl [OPTIONS] COMMAND ...",
        "       runctl train train.py -- --epochs 20",
    ]
    group = ""
    for name, (_, summary, its_group) in COMMANDS.items():
        if its_group != group:
            group = its_group
            lines += ["", f"{group}:"]
        lines.append(f"  {name:{width}}{summary}")
    lines += ["", "Options, before or after the command:"]
    spelled = [
        (", ".join(names) + (f" {value}" if value else ""), text) for names, value, text in GLOBAL_OPTIONS
    ]
    spelled += [("-h, --help", "this page, or the command's"), ("--version", "the version")]
    lines += [f"  {names:18}{text}" for names, text in spelled]
    lines += ["", "`runctl COMMAND --help` explains a command, `runctl explain CODE` an error.", ""]
    return "\n".join(lines)


def version_line() -> str:
    """What ``runctl --version`` prints."""
    from runctl.version import __version__  # noqa: PLC0415 - only when asked

    return f"runctl {__version__}\n"


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

"""Run one command: parse, open the session, call the command's module, turn whatever comes out into a status."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from runctl.cli import parsing
from runctl.cli.commands import COMMANDS, TELLS_EVENTS, root_help, version_line
from runctl.cli.main import forget_stdout
from runctl.cli.session import Session, options_from
from runctl.core.errors import InternalError, RunctlError
from runctl.core.stdout import StdoutFailed, to_stdout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.cli.parsing import CommandLine

PAGE_WORDS = ("--help", "-h", "help")


def _tells_events(line: CommandLine) -> bool:
    return line.command in TELLS_EVENTS or f"{line.command} {' '.join(line.words[:1])}" in TELLS_EVENTS


def dispatch(argv: Sequence[str]) -> int:
    """Run the command ``argv`` asks for and give its exit status; every failure is shown, none is raised.

    A reader of stdout that left gives 141, a stdout that cannot be written 74, Ctrl+C 130,
    a ``RunctlError`` its own ``exit_code``, anything else 70.
    """
    line = parsing.read(argv)
    session = Session({**options_from(line.globals), "alone": not _tells_events(line)})
    try:
        return _guarded(line, session)
    finally:
        session.close()


def _guarded(line: CommandLine, session: Session) -> int:
    try:
        status = _run(line, session)
        with to_stdout():
            sys.stdout.flush()
    except RunctlError as error:
        return _show(error, session)
    except BrokenPipeError:
        return forget_stdout()
    except StdoutFailed as error:
        forget_stdout()
        session.close()  # what the view still has to say comes first
        sys.stderr.write(f"runctl: cannot write to stdout: {error.strerror}\n")
        return os.EX_IOERR
    except KeyboardInterrupt:
        session.say("cancelled")
        return 130
    except Exception as error:  # noqa: BLE001 - the last net: a bug is shown as one, with what to do about it
        return _show(_bug(error), session)
    return status


def _run(line: CommandLine, session: Session) -> int:
    if line.problem is not None:
        raise line.problem
    if line.command == "help" and line.words and line.words[0] in COMMANDS:
        line = line._replace(command=line.words[0], words=[*line.words[1:], "--help"])
    if line.command is None or line.command in PAGE_WORDS:
        session.out(root_help().rstrip("\n"))
        return 0
    if line.command == "--version":
        session.out(version_line().rstrip("\n"))
        return 0
    if line.command not in COMMANDS:
        from runctl.cli.corrections import unknown_command  # noqa: PLC0415 - only for an error

        raise unknown_command(line)
    try:
        args = parsing.parse(line)
    except SystemExit:  # --help has been printed
        return 0
    if session.options.log_file is not None:
        _ = session.view  # a log that cannot be written is an error before anything is done
    status = importlib.import_module(COMMANDS[line.command][0]).run(args, session)
    return int(status)


def _show(error: RunctlError, session: Session) -> int:
    """Hand ``error`` to the view, with the traceback when ``--debug`` asks for it; gives the exit status."""
    trace = None
    if session.options.debug:
        import traceback  # noqa: PLC0415 - 15 ms, only with --debug

        trace = "".join(traceback.format_exception(error))
    try:
        try:
            view = session.view
        except (
            RunctlError
        ):  # the log cannot be opened; what failed first matters more, and the next view has no log
            view = session.view
        view.error(error, traceback=trace)
    except BrokenPipeError:
        forget_stdout()
    return error.exit_code


def _bug(error: Exception) -> RunctlError:
    """A failure nobody foresaw, in the shape of all others; the original stays as its cause."""
    from runctl.core.catalogue import known  # noqa: PLC0415 - only for an error

    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "?" if place is None else f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
    bug = known("bug", kind=type(error).__name__, detail=str(error) or "no message", where=where)
    assert isinstance(bug, InternalError)
    bug.__cause__ = error
    return bug

"""Puts the chosen face on this process's own streams."""

from __future__ import annotations

import codecs
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from runctl.views.patient import PatientWriter
from runctl.views.streams import Streams, same_file, write_all
from runctl.views.style import Style

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.views import Choice
    from runctl.views.base import View, ViewOptions

_FALLBACK = (80, 24)  # columns and rows where nobody knows


def assemble(choice: Choice, options: ViewOptions, *, cancelled: Callable[[], bool]) -> View:
    """The view for ``choice``, started; beside it a log file when ``options`` name one.

    Raises ``log-unwritable`` when the log file cannot be opened.
    """
    log = _log(options)  # first: if it cannot be opened, nothing has been started
    out, err = _descriptor(sys.stdout), _descriptor(sys.stderr)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    streams = Streams(
        _writer(out, cancelled, stream=sys.stdout),
        _writer(err, cancelled, stream=sys.stderr),
        shared=same_file(out, err),
        encoding=encoding,
    )
    style = Style(color=choice.color, unicode=encoding.lower().replace("-", "").startswith("utf"))
    view = _face(choice.face, options, streams, style, partial(terminal_size, err))
    return _teed(view, log)


def beside_log(view: View, options: ViewOptions) -> View:
    """``view``, with the log file that ``options`` name beside it. Raises ``log-unwritable``."""
    return _teed(view, _log(options))


def _teed(view: View, log: View | None) -> View:
    if log is None:
        return view
    from runctl.views.logfile import Tee  # noqa: PLC0415 - only with a log

    return Tee(view, log)


def _log(options: ViewOptions) -> View | None:
    if options.log_file is None:
        return None
    from runctl.views.logfile import LogFile  # noqa: PLC0415 - only when asked for

    return LogFile(options.log_file, level="debug" if options.debug else options.log_level)


def _face(
    face: str, options: ViewOptions, streams: Streams, style: Style, size: Callable[[], tuple[int, int]]
) -> View:
    if face == "json":
        from runctl.views.jsonlines import JsonLines  # noqa: PLC0415 - one face is used

        return JsonLines(streams, debug=options.debug, alone=options.alone)
    if face == "quiet":
        from runctl.views.quiet import Quiet  # noqa: PLC0415

        return Quiet(streams, style=style, columns=lambda: size()[0] - 1, debug=options.debug)
    shared = {
        "style": style,
        "verbose": options.verbose,
        "debug": options.debug,
        "quiet_after": options.quiet_after_seconds,
    }
    if face == "terminal":
        from runctl.views.terminal import Terminal  # noqa: PLC0415

        return Terminal(streams, size=size, **shared).start()
    from runctl.views.plain import Plain  # noqa: PLC0415

    return Plain(streams, columns=lambda: size()[0] - 1, **shared).start()


def terminal_size(fd: int) -> tuple[int, int]:
    """Columns and rows of the terminal behind ``fd``; 80 by 24 where there is none or it does not say."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        return _FALLBACK
    return columns or _FALLBACK[0], rows or _FALLBACK[1]


def _descriptor(stream: Any) -> int:
    """The file descriptor of a stream, with what it has buffered written first; -1 when there is none."""
    try:
        stream.flush()
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):  # closed, missing, or not a real file
        return -1


def stdout_writer(cancelled: Callable[[], bool]) -> Callable[[bytes], object]:
    """Writes bytes to stdout, for a command that prints output without a view's help; see ``PatientWriter``."""
    return _writer(_descriptor(sys.stdout), cancelled)


def _writer(fd: int, cancelled: Callable[[], bool], *, stream: Any = None) -> Callable[[bytes], object]:
    """Writes to ``fd``; a stream that is closed takes everything and keeps nothing, as a shell's ``>&-`` asks.

    A ``stream`` that is no file of the system (a program has put its own in the place of stdout) gets text.
    """
    if fd < 0:
        gone = stream is None or getattr(stream, "closed", False)
        return (lambda _: None) if gone else text_writer(stream)
    return PatientWriter(partial(write_all, fd), cancelled=cancelled)


def text_writer(stream: TextIO) -> Callable[[bytes], object]:
    """Writes bytes as text, at once; what is no UTF-8 comes as replacement characters, a torn character waits."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(data: bytes) -> None:
        stream.write(decoder.decode(data))
        stream.flush()

    return write

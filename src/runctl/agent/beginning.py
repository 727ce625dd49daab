"""Where in a run's output to begin when somebody wants only its last lines, or only what is new."""

from __future__ import annotations

from runctl.agent.home import size_of

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from runctl.agent.home import RunFolder

BLOCK = 65536  # bytes read at once, going backwards
LINE = 64  # bytes; no line of output.times is longer


def output_offset(request: dict[str, Any], run: RunFolder, current: dict[str, Any]) -> int | None:
    """The first byte of output to send, a line's first where one begins nearby; None when no output is wanted.

    Args:
        request: ``output``, the least offset; ``tail``, that many lines from the end of what is there now (0: only
            what comes from now on; an unfinished last line is a line); ``since``, seconds since the epoch by this
            machine's clock, exact to a fifth of a second.
        run: where the files are. Only read.
        current: the run's status.
    """
    found: int | None = request.get("output")
    tail, since = request.get("tail"), request.get("since")
    if found is None:
        return None
    if tail is not None:
        found = max(found, before_lines(run.output, size_of(run.output), max(tail, 0)))
    if since is not None and current["script_started_at"] is not None:
        at, size = size_at(run.times, since - epoch(current["script_started_at"])), size_of(run.output)
        found = max(found, line_start(run.output, at) if at < size else size)
    return found


def before_lines(path: str, end: int, count: int) -> int:
    """The offset at which the last ``count`` lines before ``end`` begin."""
    if not end or not count:
        return end
    with open(path, "rb") as file:
        file.seek(end - 1)
        wanted = count + (file.read(1) == b"\n")
        place = end
        while place:
            size = min(BLOCK, place)
            file.seek(place - size)
            block = file.read(size)
            here = block.count(b"\n")
            if here < wanted:
                wanted -= here
                place -= size
                continue
            cut = len(block)
            for _ in range(wanted):
                cut = block.rindex(b"\n", 0, cut)
            return place - size + cut + 1
    return 0


def line_start(path: str, place: int) -> int:
    """Where the line that holds ``place`` begins; ``place`` itself when that is further away than one block."""
    size = min(BLOCK, place)
    if not size:
        return place
    with open(path, "rb") as file:
        file.seek(place - size)
        block = file.read(size)
    newline = block.rfind(b"\n")
    if newline < 0:
        return 0 if size == place else place
    return place - size + newline + 1


def size_at(path: str, seconds: float) -> int:
    """How long the output was that many seconds after the script's start, by ``output.times``; 0 before the first."""
    low, high = 0, size_of(path)
    if not high:
        return 0
    best = 0
    with open(path, "rb") as file:
        while low < high:
            middle = (low + high) // 2
            found = _line_at(file, middle)
            if found is not None and found[1] <= seconds:
                best = found[0]
                low = middle + 1
            else:
                high = middle
    return best


def _line_at(file: BinaryIO, place: int) -> tuple[int, float] | None:
    """The last whole line that begins at or before ``place``."""
    begin = max(place - LINE, 0)
    file.seek(begin)
    block = file.read(place - begin)
    begin += block.rfind(b"\n") + 1
    file.seek(begin)
    line, newline, _ = file.read(LINE).partition(b"\n")
    if not newline:
        return None
    size, _, seconds = line.partition(b" ")
    return int(size), float(seconds)


def epoch(stamp: str) -> float:
    """Seconds since the epoch of a timestamp as ``journal.timestamp`` writes it. Pure."""
    import calendar  # noqa: PLC0415 - only for --since

    day, _, clock = stamp.rstrip("Z").partition("T")
    hours, minutes, seconds = clock.split(":")
    year, month, date = day.split("-")
    whole = calendar.timegm((int(year), int(month), int(date), int(hours), int(minutes), 0, 0, 0, 0))
    return whole + float(seconds)

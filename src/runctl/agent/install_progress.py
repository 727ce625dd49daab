"""What an installer's words mean: from lines of uv or pip to how far it is. Pure: no input, no output."""

from __future__ import annotations

import re

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

_UNITS = {
    "B": 1,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "BYTES": 1,
}
_SIZE = r"([\d.]+)\s?([KMG]i?B|kB|B|bytes)"
_UV_BAR = re.compile(r"([A-Za-z0-9][\w.+-]*)\s+-+\s+%s/%s" % (_SIZE, _SIZE))
_UV_STEP = re.compile(r"\[(\d+)/(\d+)\]\s*(\S*)")
_UV_RESOLVING = re.compile(r"^[^\w\s]\s+(?:Resolving dependencies\.\.\.\s*)?(\S.*)?$")
_UV_DONE = re.compile(r"^(Resolved|Prepared|Installed) (\d+) packages?\b")
_UV_LARGE = re.compile(r"^\s*Downloading (\S+) \(%s\)" % _SIZE)
_UV_BUILD = re.compile(r"^\s*Building (\S+)")
_PIP_COLLECT = re.compile(r"^\s*(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9][\w.-]*)")
_PIP_DOWNLOAD = re.compile(r"^\s*(?:Downloading|Using cached) (\S+) \(%s\)" % _SIZE)
_PIP_RAW = re.compile(r"^Progress (\d+) of (\d+)$")
_PIP_BAR = re.compile(r"([\d.]+)/([\d.]+) ([kMG]?B)\b")
_PIP_BUILD = re.compile(r"^\s*Building wheels? for ([\w.-]+)")
_PIP_INSTALL = re.compile(r"^Installing collected packages: (.+)$")


def size_of(number: str, unit: str) -> int:
    """Bytes of ``12.3`` ``MiB``; rounded as the installer rounded it."""
    return int(float(number) * _UNITS[unit.upper()])


class Progress:
    """How far an installation is, as the installer's own words tell.

    ``phase`` is resolving, downloading, building, installing or done. ``bytes_done`` and ``bytes_total`` cover the
    downloads whose size the installer has said; more may be announced later. ``names`` is what will be installed,
    as far as it is known.
    """

    def __init__(self) -> None:
        self.phase = "resolving"
        self.item = ""
        self.packages = 0  # resolved
        self.installed = 0
        self.fetched = 0  # of those, how many had to be downloaded or built
        self.cut = False  # the last download ended before its size
        self._sizes: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._current = ""

    @property
    def bytes_done(self) -> int:
        """Bytes downloaded of the announced ones."""
        return sum(min(done, self._sizes[name]) for name, done in self._done.items())

    @property
    def bytes_total(self) -> int:
        """Bytes announced so far."""
        return sum(self._sizes.values())

    def event(self) -> dict[str, Any]:
        """The fields of ``step.progress`` that say this; ``total`` None when nobody knows."""
        item = "%s %s" % (self.phase, self.item) if self.item else self.phase
        if self.phase in ("downloading", "building") and self._sizes:
            return {"done": self.bytes_done, "total": self.bytes_total, "unit": "bytes", "item": item}
        done = self.installed if self.phase in ("installing", "done") else self.packages
        known = self.phase in ("installing", "done") and self.packages
        return {"done": done, "total": self.packages if known else None, "unit": "packages", "item": item}

    def counted(self, installed: int) -> None:
        """So many packages were seen in place; never backwards, never more than there are to install."""
        self.installed = max(self.installed, min(installed, self.packages))

    def _download(self, name: str, done: int, total: int) -> None:
        self.phase, self.item = "downloading", name
        self._sizes[name], self._done[name] = total, done

    def read_uv(self, text: str, *, stays: bool) -> bool:
        """Take in a text of uv; whether it moved anything. Bars count only while they pass, never in a report."""
        before = self._where()
        (self._uv_line if stays else self._uv_bars)(text)
        return before != self._where()

    def read_pip(self, text: str, *, stays: bool) -> bool:
        """Take in a text of pip; whether it moved anything."""
        before = self._where()
        self._pip_text(text, stays=stays)
        return before != self._where()

    def _where(self) -> tuple[object, ...]:
        return (self.phase, self.item, self.packages, self.installed, self.bytes_done, self.bytes_total)

    def _uv_bars(self, text: str) -> None:
        bars = _UV_BAR.findall(text)
        step = _UV_STEP.search(text)
        if bars:
            seen = {name for name, *_ in bars}
            for name, done, unit, total, total_unit in bars:
                self._download(name, size_of(done, unit), size_of(total, total_unit))
            for name, total in self._sizes.items():
                if name not in seen:  # its bar is gone: it is complete
                    self._done[name] = total
            self.item = (
                ", ".join(sorted(name for name in seen if self._done[name] < self._sizes[name])) or self.item
            )
        elif step:
            self.phase, self.item = "installing", step.group(3)
            self.installed, self.packages = int(step.group(1)), max(self.packages, int(step.group(2)))
        elif "Preparing packages" in text:
            self.phase = "downloading" if self.phase == "resolving" else self.phase
        elif self.phase == "resolving":
            found = _UV_RESOLVING.match(text)
            self.item = (found.group(1) or "").strip() if found else self.item

    def _uv_line(self, text: str) -> None:
        done, large, build = _UV_DONE.match(text), _UV_LARGE.match(text), _UV_BUILD.match(text)
        if done:
            word, count = done.group(1), int(done.group(2))
            if word == "Resolved":
                self.phase, self.item, self.packages = "downloading", "", count
            elif word == "Prepared":
                self._done = dict(self._sizes)
                self.phase, self.item, self.packages, self.fetched = "installing", "", count, count
            else:
                self.phase, self.item, self.installed, self.packages = "done", "", count, count
        elif large:  # without a terminal uv names large downloads instead of drawing them
            self._download(large.group(1), 0, size_of(large.group(2), large.group(3)))
        elif build:
            self.phase, self.item = "building", build.group(1)

    def _pip_text(self, text: str, *, stays: bool) -> None:
        collect, download, build = _PIP_COLLECT.match(text), _PIP_DOWNLOAD.match(text), _PIP_BUILD.match(text)
        raw, bar, install = _PIP_RAW.match(text), _PIP_BAR.search(text), _PIP_INSTALL.match(text)
        if raw or (bar and not stays) or (bar and "━" in text):
            self._pip_bytes(raw, bar)
        elif install:
            self.packages = len(install.group(1).split(","))
            self._done = dict(self._sizes)
            self.phase, self.item = "installing", ""
        elif text.startswith("Successfully installed"):
            self.installed = self.packages = max(self.packages, len(text.split()) - 2)
            self.phase, self.item = "done", ""
        elif download and not download.group(1).endswith(".metadata"):
            name = download.group(1).rpartition("/")[2].partition("#")[0]
            self._finish_current()
            self._current = name
            cached = "Using cached" in text
            self.fetched += not cached
            total = size_of(download.group(2), download.group(3))
            self._download(name, total if cached else 0, total)
        elif build:
            self.phase, self.item = "building", build.group(1)
        elif collect:
            self._finish_current()
            self.packages += 1
            self.phase, self.item = "resolving", collect.group(1)

    def _finish_current(self) -> None:
        if self._current:
            self._done[self._current] = self._sizes[self._current]

    def _pip_bytes(self, raw: re.Match[str] | None, bar: re.Match[str] | None) -> None:
        if raw:
            done, total = int(raw.group(1)), int(raw.group(2))
        elif bar:
            done, total = size_of(bar.group(1), bar.group(3)), size_of(bar.group(2), bar.group(3))
        if self._current:
            self._download(self._current, done, total)
            self.cut = done < total

"""Why an installer failed: its last words, sorted into codes of the catalogue. Pure: text in, verdict out."""

from __future__ import annotations

import re
from typing import NamedTuple

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_LINES = 8


class Verdict(NamedTuple):
    """The code, the installer's own 1 to 8 lines that matter, the package named (or empty), worth another try."""

    code: str
    reason: str
    package: str
    transient: bool


_NAME = r"[`'\"]?([A-Za-z0-9][\w.\-\[\]]*(?:==[\w.+!*-]+)?)[`'\"]?"
# (what the text says, the code, where the package is named): the first that matches decides, so order matters.
_SIGNS = tuple(
    ("|".join(signs), code, where)
    for code, where, signs in (
        (
            "disk-full",
            "",
            ("No space left on device", "os error 28", "Errno 28", "Disk quota exceeded", "os error 122"),
        ),
        (
            "hash-mismatch",
            r"(?:[Hh]ash mismatch for |^\s+)" + _NAME + r"(?:$|`| from )",
            ("[Hh]ash mismatch", "DO NOT MATCH THE HASHES", "hashes are required in --require-hashes"),
        ),
        (
            "requirements-invalid",
            r"Invalid requirement: " + _NAME,
            (
                "Invalid requirement",
                "Could(?:n't| not) parse requirement",
                "Expected one of `@`",
                "Invalid constraint",
                "Could not open requirements file",
            ),
        ),
        (
            "resolution-impossible",
            "Cannot install " + _NAME,
            ("ResolutionImpossible", "conflicting dependencies"),
        ),
        (
            "package-not-found",
            "[Bb]ecause " + _NAME + " was not found",
            (
                "was not found in the package registry",
                "was not found in the provided package locations",
                "not found in the package index",
            ),
        ),
        (
            "build-failed",
            r"(?:Failed to build|Failed building wheel for|Could not build wheels for|While building|"
            r"Collecting) " + _NAME,
            (
                "Failed to build",
                "metadata-generation-failed",
                "Failed building wheel",
                "subprocess-exited-with-error",
                "build backend returned an error",
                "Could not build wheels",
                "failed-wheel-build",
            ),
        ),
        (
            "python-unsuitable",
            "",
            (
                "does not satisfy Python",
                "Requires-Python",
                "requires a different Python",
                "current Python version .* does not satisfy",
                "(?:not |in)compatible with the project's Python",
            ),
        ),
        (
            "index-unreachable",
            "[Ff]ailed to download " + _NAME,
            (
                "Connection refused|NewConnectionError|Could not connect|Max retries exceeded|RemoteDisconnected",
                "Failed to fetch|error sending request|HTTP status (?:server|client) error|HTTP error \\d+",
                "dns error|failed to lookup address|Name or service not known|Temporary failure in name resolution",
                "ReadTimeoutError|[Tt]imed out|ProxyError|SSLError|tls handshake|5\\d\\d Server Error",
                "IncompleteRead|end of file before message|error reading a body|incomplete-download|Connection broken",
                "connection (?:reset|closed|was closed)|ConnectionResetError|not a trusted or secure host",
            ),
        ),
        (
            "resolution-impossible",
            "no versions? of " + _NAME,
            ("No solution found", "no version of", "there are no versions of", "unsatisfiable"),
        ),
        (
            "package-not-found",
            "satisfies the requirement " + _NAME,
            (r"\(from versions: none\)", "No matching distribution found"),
        ),
    )
)
_LASTING = re.compile(
    r"HTTP status client error|HTTP error 4\d\d|40[134] (?:Client|Forbidden|Unauthorized)|certificate|"
    r"UnknownIssuer|invalid peer|trusted or secure",
    re.IGNORECASE,
)
_NOISE = re.compile(
    r"^\s*(?:$|hint:|note:|help:|\[notice\]|Using (?:Python|CPython)|Looking in |WARNING: (?:Retrying|There was)|"
    r"To fix this you could|\d\. (?:loosen|remove) |╰─> See above|\[end of output\]|INFO: pip is looking)"
)


def classify(lines: Sequence[str], *, cut: bool = False, skipped: Sequence[str] = ()) -> Verdict:
    """The verdict over an installer's (masked) output lines.

    ``cut``: the last download ended before its announced size; old pips report that as a wrong hash. ``skipped``: what
    pip's own log says about index pages it could not fetch; on the screen it only says that there is no such package.
    """
    words = _last_words(lines)
    text = "\n".join(words)
    everything = "\n".join(lines[-400:])
    for sign, listed_code, where in _SIGNS:
        if not re.search(sign, text):
            continue
        code = _refine(listed_code, text)
        if code == "hash-mismatch" and cut:
            return Verdict(
                "index-unreachable", "the connection broke in the middle of a download", "", transient=True
            )
        failed = [line for line in skipped if "404 Client Error" not in line]
        if code == "package-not-found" and failed:
            return _unreachable(failed[-1])
        found = (re.search(where, text, re.MULTILINE) or re.search(where, everything)) if where else None
        package = found.group(1) if found else ""
        transient = code == "index-unreachable" and not _LASTING.search(text)
        return Verdict(code, "\n".join(_shorten(words, code)), package, transient)
    return Verdict("install-failed", "\n".join(_shorten(words, "")), "", transient=False)


def _refine(code: str, text: str) -> str:
    """A package that exists, in other versions than the one asked for, is a question of resolution."""
    if code != "package-not-found":
        return code
    other_versions = re.search(r"\(from versions: [^n]", text)
    no_such_version = re.search(r"no versions? of", text) and "registry" not in text
    return "resolution-impossible" if other_versions or no_such_version else code


def _unreachable(line: str) -> Verdict:
    """pip says "no such package" when it could not reach the index; its log holds the truth."""
    found = re.search(r"Could not fetch URL (\S+): (.*?)(?: - skipping)?$", line)
    url, why = (found.group(1), found.group(2)) if found else ("", line)
    inner = re.search(r"[A-Za-z]+Error\([\"']?(?:<[^>]*>: )?(.*?)[\"']?\)\)*$", why)
    reason = "%s: %s" % (url, inner.group(1) if inner else why)
    return Verdict("index-unreachable", reason[:600], "", not _LASTING.search(line))


def _last_words(lines: Sequence[str]) -> list[str]:
    """From the first line that begins an error to the end, without blank lines and advice; else the last lines."""
    for number, line in enumerate(lines):
        if re.match(r"\s*(?:error\b|ERROR:|\u00d7|x No solution)", line):
            rest = [text.rstrip() for text in lines[number:]]
            break
    else:
        rest = [text.rstrip() for text in lines[-MOST_LINES:]]
    if any(
        text.startswith("Traceback ") for text in rest
    ):  # the installer itself broke: its last line says on what
        rest = [
            text for text in rest if re.match(r"[A-Za-z_.]+: ", text) and not text.startswith("ERROR: Exc")
        ][-1:]
    return [text for text in rest if not _NOISE.match(text)]


def _shorten(words: list[str], code: str) -> list[str]:
    """At most 8 lines: all of a short story; of a failed build its first lines and the last of the compiler's."""
    unique: list[str] = []
    for line in words:
        if line.strip() not in {seen.strip() for seen in unique}:
            unique.append(line)
    if len(unique) <= MOST_LINES:
        return unique
    if code == "build-failed":
        marks = [
            i
            for i, line in enumerate(unique)
            if re.search(r"\[end of output\]|^error: (?:metadata|subprocess)", line)
        ]
        end = marks[0] if marks and marks[0] > MOST_LINES else len(unique)
        return unique[:3] + unique[end - (MOST_LINES - 3) : end]
    return unique[:MOST_LINES]

"""What of an environment is in place: copied beside the gate, and like it free of everything but the library.

A distribution is in place when its RECORD names its INSTALLER file: uv and pip both write that line only after every
file of the distribution is there.
"""

from __future__ import annotations

import os
import platform
import re
import sys

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any


def read_distribution(folder: str) -> tuple[set[str], set[str]] | None:
    """The modules of a distribution and the names it requires here; None while it is not in place."""
    try:
        with open(os.path.join(folder, "RECORD"), encoding="utf-8") as file:
            files = [line.rsplit(",", 2)[0].strip('"') for line in file]
        if os.path.basename(folder) + "/INSTALLER" not in files:
            return None
        with open(os.path.join(folder, "METADATA"), encoding="utf-8") as file:
            metadata = file.read().partition("\n\n")[0]
    except (OSError, UnicodeDecodeError):
        return None
    modules: set[str] = set()
    for path in files:
        parts = path.split("/")
        stem = parts[-1].partition(".")[0]
        if parts[-1].endswith((".py", ".so", ".pyd")):
            parts = parts[:-1] if stem == "__init__" else [*parts[:-1], stem]
            modules.update(".".join(parts[: end + 1]) for end in range(len(parts)))
    return modules, requirements(metadata)


def requirements(metadata: str) -> set[str]:
    """The names a METADATA text requires on this interpreter, without extras."""
    needs: set[str] = set()
    for line in metadata.splitlines():
        if line.startswith("Requires-Dist:"):
            text, _, marker = line[14:].partition(";")
            found = re.match(r"\s*([A-Za-z0-9][\w.-]*)", text)
            if found and applies(marker.strip()):
                needs.add(normal(found.group(1)))
    return needs


def applies(marker: str) -> bool:
    """A dependency marker for this interpreter, without extras; what cannot be read counts as true (it waits longer)."""
    if not marker:
        return True
    values = {
        "python_version": "%d.%d" % sys.version_info[:2],
        "python_full_version": "%d.%d.%d" % sys.version_info[:3],
        "implementation_version": "%d.%d.%d" % sys.version_info[:3],
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_system": platform.system(),
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "implementation_name": sys.implementation.name,
        "extra": "",
    }

    def verdict(found: re.Match[str]) -> str:
        left, operator, right = found.group(1), " ".join(found.group(2).split()), found.group(3)
        sides: list[Any] = [values.get(side, side.strip("'\"")) for side in (left, right)]
        if "version" in left + right and operator not in ("in", "not in"):
            sides = [[int(part) for part in re.findall(r"\d+", side)] for side in sides]
        return str(_compare(sides[0], operator, sides[1]))

    side = r"([a-z_.]+|'[^']*'|\"[^\"]*\")"
    text = re.sub(side + r"\s*(===|==|!=|<=|>=|~=|<|>|not\s+in|in)\s*" + side, verdict, marker)
    if not re.match(r"^(?:True|False|and|or|not|[()\s])+$", text):
        return True
    try:
        return bool(eval(text, {"__builtins__": {}}))  # noqa: S307 - nothing but the five words above is left in it
    except SyntaxError:
        return True


def _compare(left: Any, operator: str, right: Any) -> bool:
    if operator in ("in", "not in"):
        return (left in right) is (operator == "in")
    if operator == "~=":
        return bool(left >= right and left[: len(right) - 1] == right[:-1])
    answers = {
        "<": left < right,
        ">": left > right,
        "<=": left <= right,
        ">=": left >= right,
        "!=": left != right,
    }
    return bool(answers.get(operator, left == right))


def normal(name: str) -> str:
    """A distribution's name as indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()

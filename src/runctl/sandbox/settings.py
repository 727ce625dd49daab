"""What ``runctl sandbox up --set NAME=VALUE`` may say: every name there is, and what its values are."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.sandbox.ssm.settings import PREFIX, SsmSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBERS = ("boot_seconds", *(PREFIX + each.name for each in fields(SsmSettings)))
_CHOICES = {"instances": ("own", "plain"), "secure_transport": ("true", "false")}
_PROGRAMS = ("agent",)


class BadSetting(ValueError):
    """A name that is none, or a value it cannot have; the text says what there is."""


def check(given: Mapping[str, str]) -> None:
    """Raises BadSetting for the first that is wrong."""
    known = sorted((*_NUMBERS, *_CHOICES, *_PROGRAMS))
    for name, value in given.items():
        if name not in known:
            raise BadSetting(f"there is no setting {name!r}; there is: {', '.join(known)}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise BadSetting(f"{name} is {' or '.join(_CHOICES[name])}, not {value!r}")
        if name in _PROGRAMS and not Path(value).is_file():
            raise BadSetting(f"{name} is the path of a program; there is none at {value!r}")
        if name in _NUMBERS and not _is_amount(value):
            raise BadSetting(f"{name} is a number from 0, not {value!r}")


def _is_amount(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False

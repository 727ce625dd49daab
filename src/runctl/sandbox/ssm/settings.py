"""What can be set about SSM, with the service's own values as defaults where it has any."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "ssm_"  # of the names in `runctl sandbox up --set NAME=VALUE`


@dataclass
class SsmSettings:
    """Seconds, unless said otherwise.

    `register_seconds`: from the agent's first word to the instance being listed and reachable. `visible_seconds`: from
    SendCommand to GetCommandInvocation knowing of it. `idle_seconds`: a session without a message ends; 20 minutes is
    the service's default. `clock_factor`: delivery and expiry run so many times faster, for rehearsals: the service
    allows no delivery timeout under 30 s. `resend_seconds`: a job the agent has not acknowledged is sent again.
    """

    register_seconds: float = 0.0
    visible_seconds: float = 0.0
    idle_seconds: float = 1200.0
    clock_factor: float = 1.0
    resend_seconds: float = 2.0


def read_settings(given: Mapping[str, str]) -> SsmSettings:
    """The settings among `given`, whose names begin with `ssm_`. Raises ValueError for a value that is no number >= 0."""
    settings = SsmSettings()
    for each in fields(SsmSettings):
        text = given.get(PREFIX + each.name)
        if text is None:
            continue
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf") or (each.name == "clock_factor" and not value):
            raise ValueError(f"{PREFIX}{each.name} cannot be {text}")
        setattr(settings, each.name, value)
    return settings

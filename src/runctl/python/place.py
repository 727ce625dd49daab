"""Where a call comes from: its folder, its environment, and the settings that hold there."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.api.runtime import Runtime
from runctl.core.events import Notice
from runctl.project.config import load
from runctl.project.places import state_dir
from runctl.python.options import settings_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.events import Emit, Event
    from runctl.project.config import Config


class RunctlWarning(UserWarning):
    """What the command line would say as ``warning:`` while no run is followed: a machine does not answer."""


@dataclass(frozen=True)
class Place:
    """Taken once, when the call is made: what the program does to its folder or environment later changes nothing."""

    cwd: Path
    env: Mapping[str, str]
    config: Config

    @staticmethod
    def here() -> Place:
        """The program's own. Raises ``config-invalid``."""
        env = dict(os.environ)
        return Place(Path.cwd(), env, load(Path.cwd(), env=env))

    @staticmethod
    def of_script(script: str | os.PathLike[str], options: Mapping[str, Any], *, function: str) -> Place:
        """The program's own, with the settings of the project around ``script`` and ``options`` on top.

        Raises:
            UsageError: ``config-invalid``, ``wrong-keyword``.
        """
        cwd, env = Path.cwd(), dict(os.environ)
        flags = settings_from(options, function=function)
        return Place(cwd, env, load((cwd / Path(script).expanduser()).parent, env=env).with_flags(flags))

    @property
    def state(self) -> Path:
        """Where runs are recorded."""
        return state_dir(self.env)

    def runtime(self, cancel: CancelToken, emit: Emit) -> Runtime:
        """What one call of a verb stands on; to be closed after it."""
        return Runtime(self.state, self.config, cancel, emit, env=self.env)


def as_warning(event: Event) -> None:
    """Where nothing is followed there is no display: a warning of runctl is one of Python's."""
    if isinstance(event, Notice) and event.level == "warning":
        warnings.warn(event.text, RunctlWarning, stacklevel=2)

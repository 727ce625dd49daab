"""Surroundings for an adapter under test: built-in settings, an environment of one's own, nothing heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.ports import Surroundings
from runctl.project.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.core.clock import Clock
    from runctl.core.events import Emit, Event


def surroundings(
    *,
    env: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    emit: Emit | None = None,
    read_only: bool = False,
    **settings: Any,
) -> Surroundings:
    """Surroundings whose settings are the built-in ones but for ``settings`` (``aws__region`` sets ``aws.region``)."""
    given = {key.replace("__", "."): value for key, value in settings.items()}

    def deaf(_event: Event) -> None:
        """Nobody listens."""

    def setting(key: str) -> Any:
        return given.get(key, SETTINGS[key].default)

    return Surroundings(
        setting, env or {}, clock or SystemClock(), emit or deaf, CancelToken(), read_only=read_only
    )

"""The shape of one known failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from runctl.core import errors


class Known(NamedTuple):
    """One known failure: family, words as templates, and a longer text for the troubleshooting guide."""

    family: type[errors.RunctlError]
    what: str
    why: str = ""
    fix: tuple[str, ...] = ()
    explain: str = ""
    transient: bool = False

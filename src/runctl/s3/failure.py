"""The one way something that travels fails: a code of the client's catalogue and its facts."""

from __future__ import annotations

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any


class KnownFailure(Exception):
    """A known failure. The client words it; ``facts`` fill the words and must be JSON values without secrets."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts

    def to_json(self) -> dict[str, Any]:
        """As it stands in a reply and in ``status.json``."""
        return {"code": self.code, "facts": self.facts}

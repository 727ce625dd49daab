"""What an account is changed by, as values: a change is the calls that make it, no more and no less."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.aws.errors import action_of, code_of
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.aws.calls import AwsCalls
    from runctl.core.cancel import CancelToken


class Line(NamedTuple):
    """One line of a plan, as ``views.plan`` shows it: ``+`` create, ``~`` change, ``x`` remove, ``=`` keep, ``!`` mind."""

    symbol: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class ApiCall:
    """One call of AWS. ``done_by`` are answers that mean it had been done already; ``early`` are those of a service
    that has not yet heard of what was made just before, and is asked again.
    """  # noqa: D205 - two halves of one thing

    service: str
    operation: str
    params: Mapping[str, Any]
    done_by: tuple[str, ...] = ()
    early: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        """The action as IAM calls it."""
        return action_of(self.service, self.operation)

    def to_json(self) -> dict[str, Any]:
        """The call as plain JSON values."""
        return {
            "action": self.action,
            "service": self.service,
            "operation": self.operation,
            "params": dict(self.params),
        }


@dataclass(frozen=True)
class Change:
    """One thing that becomes otherwise.

    ``kind`` is ``create``, ``change`` or ``remove``; ``of`` names the thing (``bucket my-runs``), ``what`` says what
    happens to it (empty: it is made, or goes).
    """

    kind: str
    of: str
    calls: tuple[ApiCall, ...] = field(repr=False)
    what: str = ""

    @property
    def said(self) -> str:
        """The change in words."""
        return f"{self.of}: {self.what}" if self.what else self.of

    def line(self) -> Line:
        """The change as a line of a plan; what belongs to a thing that is made is an item of it."""
        symbol = {"create": "+", "change": "~", "remove": "x"}[self.kind]
        what = self.said
        if self.what and self.kind == "create":
            what = f"  {self.what}"
        return Line(symbol, what, ", ".join(dict.fromkeys(call.action for call in self.calls)))

    def to_json(self) -> dict[str, Any]:
        """The change as plain JSON values."""
        return {
            "kind": self.kind,
            "of": self.of,
            "what": self.what,
            "calls": [call.to_json() for call in self.calls],
        }


def make(change: Change, calls: AwsCalls, cancel: CancelToken) -> None:
    """Do exactly what ``change`` says, call by call. Safe to repeat.

    Raises:
        RunctlError: the first call that failed; those before it are done.
    """
    for call in change.calls:
        try:
            calls.call(call.service, call.operation, cancel=cancel, repeat_on=call.early, **call.params)
        except RunctlError as error:
            if code_of(error) not in call.done_by:
                raise

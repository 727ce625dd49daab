"""What the probes look at, and how a read that is not allowed is told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from runctl.aws.setup import names_in
from runctl.core.checks import Check, skipped
from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.aws.calls import AwsCalls
    from runctl.aws.names import Names
    from runctl.core.cancel import CancelToken

_DENIED = "aws-denied"
P = ParamSpec("P")


@dataclass(frozen=True)
class Account:
    """What the probes look at: an account, by calls and by the settings that name its things."""

    calls: AwsCalls
    setting: Callable[[str], Any]

    def names(self, cancel: CancelToken) -> Names:
        """What its things are called."""
        return names_in(self.calls, self.setting, cancel)


def may_look(look: Callable[P, Check]) -> Callable[P, Check]:
    """A read that is not allowed says nothing about the thing itself: it is skipped, and says which action it takes."""

    @wraps(look)
    def careful(*args: P.args, **kwargs: P.kwargs) -> Check:
        try:
            return look(*args, **kwargs)
        except RunctlError as error:
            if error.code != _DENIED:
                raise
            return skipped(f"you may not look: {error.context.get('action')} is not allowed")

    return careful

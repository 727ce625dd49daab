"""How moto is bent: methods are replaced on its classes, once a process, and errors raised as it raises them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def refuse(code: str, message: str, *, no_room: bool = False) -> Exception:
    """An EC2 error as moto raises them; ``no_room`` marks one that may pass, see ``is_no_room``."""
    from moto.ec2.exceptions import EC2ClientError  # noqa: PLC0415 - heavy

    error: Exception = EC2ClientError(code, message)
    error.no_room = no_room  # type: ignore[attr-defined]
    return error


def is_no_room(error: Exception) -> bool:
    """Whether an error says that there is no capacity just now."""
    return bool(getattr(error, "no_room", False))


def replace(owner: Any, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
    """Put what ``make`` gives for a method of moto's in its place."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


def override(owner: Any, name: str, method: Callable[..., Any]) -> None:
    """Put a function in the place of a method of moto's, which is not asked any more."""

    @functools.wraps(getattr(owner, name))
    def put(*args: Any, **named: Any) -> Any:  # a function, which a class binds; a bound method it would not
        return method(*args, **named)

    setattr(owner, name, put)

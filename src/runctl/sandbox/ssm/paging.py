"""Lists in pages, as the service's operations give them."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence


def page(name: str, rows: Sequence[Any], given: dict[str, Any], *, default: int) -> dict[str, Any]:
    """One page of `rows` under `name`, and the NextToken when there are more.

    The token counts rows: a list that changes meanwhile may show a row twice or not at all, as the service's does.

    Raises:
        ApiError: InvalidNextToken, for a token that is not ours.
    """
    start = 0
    if token := given.get("NextToken"):
        try:
            start = int(base64.b64decode(token, validate=True))
        except (ValueError, binascii.Error) as error:
            raise ApiError("InvalidNextToken", "The specified token is not valid.") from error
    size = int(given.get("MaxResults") or default)
    answer: dict[str, Any] = {name: list(rows[start : start + size])}
    if start + size < len(rows):
        answer["NextToken"] = base64.b64encode(str(start + size).encode()).decode()
    return answer

"""Keeps passwords and tokens of package indexes out of logs, events and errors."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?<=://)[^\s/'\"<>]+@")
_QUERY = re.compile(
    r"([?&](?:[\w-]*(?:token|secret|password|signature|credential|apikey|api_key|sig|auth))=)[^&\s'\"]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)


def mask(text: str) -> str:
    """The text with the user part of every URL, secret-looking query values and auth headers replaced by ``***``."""
    if "://" in text:
        text = _QUERY.sub(r"\1***", _USERINFO.sub("***@", text))
    return _BEARER.sub(r"\1***", text)

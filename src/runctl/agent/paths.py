"""Names that come from outside and become paths on this machine."""

from __future__ import annotations

from runctl.agent.failure import AgentFailure


def check_path(path: object, code: str, **facts: str) -> str:
    """``path``, if it is a relative one that stays where it is put; raises the failure ``code`` otherwise."""
    if not isinstance(path, str) or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise AgentFailure(code, **{"key": repr(path), "detail": "not a relative path", **facts})
    return path

"""The local end of a forwarded port."""

from __future__ import annotations

import socket

from runctl.core.cancel import SLICE
from runctl.core.catalogue import known

WAITING = 64  # connections that may wait to be accepted


def listening(port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1, and waits one slice for a connection. Raises UsageError: ``port-taken``."""
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=WAITING)
    except (OSError, OverflowError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise known("port-taken", port=port, detail=detail) from error
    listener.settimeout(SLICE)
    return listener

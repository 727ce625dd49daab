"""Sessions of Systems Manager: beginning, resuming and ending them, and the websocket each is carried by.

Protocol facts: AWS's published agent and session-manager-plugin (`datachannel.go`, `websocketchannel.go`), confirmed by
talking to both. The first message on the socket is text and carries the token; all others are binary frames.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from websockets.sync.client import ClientConnection

    from runctl.aws.calls import AwsCalls
    from runctl.core.cancel import CancelToken

OPEN_SECONDS = 5.0  # for TCP, TLS and the websocket handshake
FRAME_LIMIT = 1 << 20  # bytes; far above any message of the service
CLOSE_SECONDS = 0.5  # for the goodbye
QUEUE = 512  # messages read ahead


class Disconnected(Exception):
    """A data channel broke or did not open; the text is the reason in the words of the system or of websockets."""


@dataclass(frozen=True)
class Opening:
    """Where a session's data channel is, and the token that opens it once."""

    session: str
    url: str
    token: str = field(repr=False)


class Gateway:
    """One instance's sessions. May be used from several threads."""

    def __init__(self, calls: AwsCalls, instance: str, region: str | None, env: Mapping[str, str]) -> None:
        self._calls = calls
        self.instance = instance
        self.region = region
        self._env = env

    def start(self, document: str, parameters: Mapping[str, str], cancel: CancelToken) -> Opening:
        """Begin a session. A repetition begins another one. Raises what ``AwsCalls.call`` does."""
        asked: dict[str, Any] = {"Target": self.instance, "Reason": "runctl"}
        if document:
            asked["DocumentName"] = document
        if parameters:
            asked["Parameters"] = {name: [value] for name, value in parameters.items()}
        answer = self._calls.call("ssm", "start_session", cancel=cancel, region=self.region, **asked)
        return Opening(answer["SessionId"], answer["StreamUrl"], answer["TokenValue"])

    def resume(self, session: str, cancel: CancelToken) -> Opening | None:
        """A new token for a session whose connection was lost; None when the session has ended."""
        answer = self._calls.call(
            "ssm", "resume_session", cancel=cancel, region=self.region, SessionId=session
        )
        if not answer.get("TokenValue"):
            return None
        return Opening(session, answer["StreamUrl"], answer["TokenValue"])

    def terminate(self, session: str, cancel: CancelToken) -> None:
        """End a session on both sides. Safe to repeat."""
        self._calls.call("ssm", "terminate_session", cancel=cancel, region=self.region, SessionId=session)

    @contextlib.contextmanager
    def connected(self, opening: Opening, *, version: str) -> Iterator[ClientConnection]:
        """An open data channel, closed afterwards.

        Args:
            opening: of a session that was begun or resumed.
            version: the client's version, which decides how the agent talks to it.

        Raises:
            Disconnected: it cannot be opened, or it breaks in the block.
        """
        from websockets.exceptions import WebSocketException  # noqa: PLC0415 - 90 ms, and only sessions need it
        from websockets.sync.client import connect  # noqa: PLC0415

        opened = {
            "MessageSchemaVersion": "1.0",
            "RequestId": str(uuid.uuid4()),
            "TokenValue": opening.token,
            "ClientId": str(uuid.uuid4()),
            "ClientVersion": version,
        }
        try:
            with connect(
                opening.url,
                compression=None,
                ping_interval=None,
                max_size=FRAME_LIMIT,
                max_queue=QUEUE,
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ssl=self._trust(opening.url),
            ) as socket:
                socket.send(json.dumps(opened))
                yield socket
        except (OSError, EOFError, WebSocketException) as error:
            raise Disconnected(str(error)) from error

    def _trust(self, url: str) -> Any:
        """The certificates boto3 would trust, too; None for its own choice."""
        bundle = self._env.get("AWS_CA_BUNDLE") or self._env.get("REQUESTS_CA_BUNDLE")
        if not bundle or not url.startswith("wss:"):
            return None
        import ssl  # noqa: PLC0415

        return ssl.create_default_context(cafile=bundle)

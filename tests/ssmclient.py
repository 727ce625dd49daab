"""A session client for the tests, on the `websockets` library: none of the sandbox's own websocket or stream code."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
import uuid
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from runctl.core import ssm_frames
from runctl.core.ssm_frames import Frame


class Client:
    """One session: what came on each stream, and how it ended. `lose` sees every outgoing frame and may drop it."""

    def __init__(self, ssm: Any, target: str, document: str = "", **parameters: str) -> None:
        asked: dict[str, Any] = {"Target": target}
        if document == "AWS-StartNonInteractiveCommand":
            parameters = {"separateOutputStream": "true", **parameters}
        if document:
            asked |= {"DocumentName": document, "Parameters": {k: [v] for k, v in parameters.items()}}
        self.ssm = ssm
        self.began = time.monotonic()
        answer = ssm.start_session(**asked)
        self.id = answer["SessionId"]
        self.stdout, self.stderr = bytearray(), bytearray()
        self.flags: list[int] = []
        self.exit_code: str | None = None
        self.closing: dict[str, Any] | None = None
        self.handshake: dict[str, Any] = {}
        self.first_output = 0.0
        self.frames = 0
        self.ended = threading.Event()
        self.ready = threading.Event()
        self.drop_acks = 0
        self._expected = 0
        self._ahead: dict[int, Frame] = {}
        self._next = 0
        self._unacked: dict[int, Frame] = {}
        self._lock = threading.Lock()
        self._cut = False
        self._errors: queue.Queue[BaseException] = queue.Queue()
        self._join(answer)

    def _join(self, answer: dict[str, Any]) -> None:
        self._cut = False
        opened = connect(
            answer["StreamUrl"],
            compression=None,
            ping_interval=None,
            max_size=None,
            open_timeout=20,
            proxy=None,
        )
        self.socket: ClientConnection = opened.__enter__()  # closed by `_read`, when the session ends
        opening = {
            "MessageSchemaVersion": "1.0",
            "RequestId": str(uuid.uuid4()),
            "TokenValue": answer["TokenValue"],
            "ClientId": str(uuid.uuid4()),
            "ClientVersion": "1.2.0.0",
        }
        self.socket.send(json.dumps(opening))
        for frame in list(self._unacked.values()):
            self.socket.send(ssm_frames.encode(frame))
        self._thread = threading.Thread(target=self._read, args=(self.socket,), daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Break the connection, as a network does."""
        self._cut = True
        self.socket.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def resume(self) -> None:
        self._join(self.ssm.resume_session(SessionId=self.id))

    def _read(self, connection: ClientConnection) -> None:
        try:
            while True:
                data = connection.recv()
                assert isinstance(data, bytes)
                self._take(ssm_frames.decode(data))
        except (ConnectionClosed, OSError):
            pass
        except BaseException as error:  # noqa: BLE001 - `check` raises it in the test
            self._errors.put(error)
        finally:
            connection.close()
            if not self._cut:
                self.ended.set()

    def _take(self, frame: Frame) -> None:
        if frame.type == "acknowledge":
            self._unacked.pop(ssm_frames.acknowledged_sequence(frame), None)
        elif frame.type == "channel_closed":
            self.closing = json.loads(frame.payload)
            self.ended.set()
        elif frame.type == "output_stream_data":
            self.frames += 1
            if self.drop_acks:
                self.drop_acks -= 1
            else:
                self.socket.send(ssm_frames.encode(ssm_frames.acknowledge(frame)))
            if frame.sequence >= self._expected:
                self._ahead[frame.sequence] = frame
            while self._expected in self._ahead:
                self._payload(self._ahead.pop(self._expected))
                self._expected += 1

    def _payload(self, frame: Frame) -> None:
        kind = frame.payload_type
        if kind in (1, 11) and not self.first_output:
            self.first_output = time.monotonic() - self.began
        if kind == 1:
            self.stdout += frame.payload
        elif kind == 11:
            self.stderr += frame.payload
        elif kind == 12:
            self.exit_code = frame.payload.decode()
        elif kind == 10:
            self.flags.append(int.from_bytes(frame.payload, "big"))
        elif kind == 5:
            self.handshake = json.loads(frame.payload)
            actions = [
                {"ActionType": each["ActionType"], "ActionStatus": 1, "ActionResult": None, "Error": ""}
                for each in self.handshake["RequestedClientActions"]
            ]
            answer = {"ClientVersion": "1.2.0.0", "ProcessedClientActions": actions, "Errors": []}
            self.send(json.dumps(answer).encode(), 6)
        elif kind == 7:
            self.ready.set()

    def send(self, payload: bytes, kind: int = 1) -> None:
        with self._lock:
            frame = ssm_frames.new("input_stream_data", payload, sequence=self._next, payload_type=kind)
            self._unacked[self._next] = frame
            self._next += 1
            self.socket.send(ssm_frames.encode(frame))

    def wait(self, seconds: float = 20) -> Client:
        assert self.ended.wait(seconds), f"the session did not end; it said {bytes(self.stdout[-500:])!r}"
        self.check()
        return self

    def check(self) -> None:
        if not self._errors.empty():
            raise self._errors.get()

    def close(self) -> None:
        self._cut = True
        self.socket.close()

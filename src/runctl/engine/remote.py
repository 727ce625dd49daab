"""Speaks to the agent on a machine, through any transport. The protocol stands in ``docs/architecture.md``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import CATALOGUE, known
from runctl.core.events import CommandRun
from runctl.engine.bundle import LOADER, bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.errors import RunctlError
    from runctl.core.events import Emit
    from runctl.core.model import Endpoint
    from runctl.core.ports import Completed, Transport

AGENT_MISSING = 90  # exit status of the loader: "you said I have it; I do not"
REPLY_LIMIT = 64 << 20  # bytes; a listing of 100,000 blobs is 7 MB


class RemoteAgent:
    """One machine's agent. Safe to use from several threads; every call is one command there."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, *, clock: Clock, emit: Emit, keep: bool = True
    ) -> None:
        """``keep`` false: the agent is never written there, it lives for the one command (a dry run's questions)."""
        self._transport = transport
        self._endpoint = endpoint
        self._clock = clock
        self._emit = emit
        self._keep = keep

    @property
    def machine(self) -> str:
        """What tells this machine from others, for what is remembered of it here."""
        where = self._endpoint
        return f"{where.transport}\0{where.address}\0{where.home}"

    def call(
        self,
        command: str,
        request: Mapping[str, Any],
        *,
        cancel: CancelToken,
        stdin: Callable[[], Iterable[bytes]] = tuple,
    ) -> dict[str, Any]:
        """Run ``command`` and return its reply. ``stdin`` makes the bytes that follow the request, afresh each try.

        Raises:
            RunctlError: what the agent says went wrong, in the catalogue's words; or the transport's errors.
        """
        reply = bytearray()

        def collect(chunk: bytes) -> None:
            reply.extend(chunk)
            if len(reply) > REPLY_LIMIT:
                raise known("agent-reply", command=command, detail=f"more than {REPLY_LIMIT} bytes")

        done = self.stream(command, request, collect, cancel=cancel, stdin=stdin)
        return self._understand(command, done, bytes(reply))

    def stream(
        self,
        command: str,
        request: Mapping[str, Any],
        on_output: Callable[[bytes], None],
        *,
        cancel: CancelToken,
        stdin: Callable[[], Iterable[bytes]] = tuple,
    ) -> Completed:
        """Run ``command`` and hand over its stdout as it comes; the agent is sent first where it is not there yet."""
        done = self._exec(command, request, on_output, cancel, stdin(), send=False)
        if done.exit_code == AGENT_MISSING:
            done = self._exec(command, request, on_output, cancel, stdin(), send=True)
        return done

    def raise_refusal(self, command: str, done: Completed, output: bytes) -> None:
        """After a stream: raise what the agent answered instead of it, if it did not end well.

        Raises:
            UnreachableError: the agent's process was ended from outside; asking again by offset is right.
        """
        if done.exit_code == 0:
            return
        if not output and not done.stderr:
            raise known("agent-stopped", command=command, detail=f"exit status {done.exit_code}")
        self._understand(command, done, output)
        raise known("agent-reply", command=command, detail=f"exit status {done.exit_code}")

    def _exec(
        self,
        command: str,
        request: Mapping[str, Any],
        on_output: Callable[[bytes], None],
        cancel: CancelToken,
        stdin: Iterable[bytes],
        *,
        send: bool,
    ) -> Completed:
        agent = bundle()

        def feed() -> Iterator[bytes]:
            body = agent.packed if send else b""
            line = json.dumps(request, separators=(",", ":")).encode()
            yield b"%d %d\n" % (len(body), self._keep) + body + line + b"\n"
            yield from stdin

        argv = [self._endpoint.python, "-I", "-S", "-c", LOADER, agent.digest, self._endpoint.home, command]
        begun = self._clock.monotonic()
        done = self._transport.exec(argv, stdin=feed(), on_output=on_output, cancel=cancel)
        shown = (self._endpoint.python, "agent", agent.digest[:12], command)
        self._emit(CommandRun(shown, "machine", self._clock.monotonic() - begun, done.exit_code))
        return done

    def _understand(self, command: str, done: Completed, output: bytes) -> dict[str, Any]:
        lines = output.splitlines()
        try:
            reply = json.loads(lines[-1]) if lines else None
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            detail = done.stderr.decode(errors="replace").strip()[-2000:] or f"exit status {done.exit_code}"
            raise known("agent-reply", command=command, detail=detail)
        if "error" in reply:
            raise worded(reply["error"])
        return reply


def worded(error: Mapping[str, Any]) -> RunctlError:
    """The agent's ``{"code", "facts"}`` in the catalogue's words; a code of a newer agent is said as it stands."""
    code, facts = error.get("code", "?"), dict(error.get("facts", {}))
    if code not in CATALOGUE:
        return known("agent-reply", command=code, detail=json.dumps(facts))
    return known(code, **facts)

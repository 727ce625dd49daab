"""What the verbs stand on."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runctl import registry
from runctl.core.clock import SystemClock
from runctl.core.events import Notice
from runctl.core.ports import Surroundings
from runctl.engine.index import Index
from runctl.engine.ledger import Ledger
from runctl.engine.remote import RemoteAgent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.model import Endpoint
    from runctl.core.ports import Provider, Store, Transport
    from runctl.project.config import Config


@dataclass(frozen=True)
class Runtime:
    """What the verbs stand on: where state lives, the settings, the token that ends everything, and the listener."""

    state_dir: Path
    config: Config
    cancel: CancelToken
    emit: Emit
    clock: Clock = field(default_factory=SystemClock)
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    shared: dict[str, Any] = field(default_factory=dict)  # what adapters of one vendor have in common
    _transports: dict[Endpoint, Transport] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def index(self, *, read_only: bool = False) -> Index:
        """The index of runs, to be used as a context manager; opened, and made, at its first use."""
        return Index(
            self.state_dir, notice=lambda text: self.emit(Notice("warning", text)), read_only=read_only
        )

    def ledger(self) -> Ledger:
        """What may be owed."""
        return Ledger(self.state_dir / "ledger.jsonl", self.clock)

    def surroundings(self, *, emit: Emit | None = None, read_only: bool = False) -> Surroundings:
        """What adapters are made with."""
        return Surroundings(
            self.config.get,
            self.env,
            self.clock,
            emit or self.emit,
            self.cancel,
            read_only=read_only,
            shared=self.shared,
        )

    def provider(self, name: str, *, read_only: bool = False) -> Provider:
        """The provider called ``name``; raises ``unknown-target``."""
        return registry.provider(name, self.surroundings(read_only=read_only))

    def store(self, url: str, *, emit: Emit | None = None, read_only: bool = False) -> Store:
        """The store at ``url``; no connection is opened yet. Raises ``unknown-target``."""
        return registry.store(url, self.surroundings(emit=emit, read_only=read_only))

    def agent(self, endpoint: Endpoint, *, keep: bool = True, emit: Emit | None = None) -> RemoteAgent:
        """The agent of the machine at ``endpoint``; no connection is opened yet."""
        return RemoteAgent(
            self.transport(endpoint), endpoint, clock=self.clock, emit=emit or self.emit, keep=keep
        )

    def transport(self, endpoint: Endpoint) -> Transport:
        """What reaches ``endpoint``; one for all that this runtime does there, so that it connects once."""
        with self._lock:
            found = self._transports.get(endpoint)
            if found is None:
                found = self._transports[endpoint] = registry.transport(endpoint, self.surroundings())
            return found

    def close(self) -> None:
        """Let go of connections. Safe to repeat; what is used again connects again."""
        with self._lock:
            transports = list(self._transports.values())
            self._transports.clear()
        for transport in transports:
            transport.close()

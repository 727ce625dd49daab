"""What the verbs stand on."""

from __future__ import annotations

import os
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
    from runctl.core.ports import Provider
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

    def agent(self, endpoint: Endpoint, *, keep: bool = True, emit: Emit | None = None) -> RemoteAgent:
        """The agent of the machine at ``endpoint``; no connection is opened yet."""
        return RemoteAgent(
            registry.transport(endpoint, self.surroundings(emit=emit)),
            endpoint,
            clock=self.clock,
            emit=emit or self.emit,
            keep=keep,
        )

"""AWS for tests: a sandbox, and calls that reach it as any AWS tool would, through the environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.unit.sandbox.cloud_world import SandboxBox

from runctl.aws.calls import AwsCalls
from runctl.core.clock import Clock
from runctl.core.events import CommandRun, Event, Notice
from runctl.providers.aws.provider import AwsProvider
from runctl.sandbox import life
from runctl.testing.surroundings import surroundings

HIDDEN = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_EC2", "AWS_ROLE_ARN")


@dataclass
class Heard:
    """Everything emitted."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def attempts(self) -> list[str]:
        return [event.argv[1] for event in self.events if isinstance(event, CommandRun)]

    @property
    def retries(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, Notice) and e.level == "detail"]


def blow(box: SandboxBox, kind: str, **rule: Any) -> Any:
    """Put a rule of weather in force, without a process for it."""
    return life.ask(life.find(box.base / box.name), "POST", "weather", {"kind": kind, **rule})


def counted(box: SandboxBox) -> int:
    """How many calls the sandbox has answered."""
    return int(life.ask(life.find(box.base / box.name), "GET", "status")["calls"])


@contextmanager
def environment(box: SandboxBox, home: Path) -> Iterator[pytest.MonkeyPatch]:
    """This process's environment leads boto3 to the sandbox and nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in HIDDEN:
            patch.delenv(name, raising=False)
        for name, value in box.values.items():
            patch.setenv(name, value)
        patch.setenv("HOME", str(home))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield patch


@contextmanager
def calls_to(
    *,
    clock: Clock | None = None,
    heard: Heard | None = None,
    attempts: int = 6,
    deadline: float = 120,
    profile: str = "",
) -> Iterator[AwsCalls]:
    """Calls from the environment as it is; connections are closed afterwards."""
    around = surroundings(
        clock=clock,
        emit=heard,
        aws__profile=profile,
        retries__attempts=float(attempts),
        retries__deadline_seconds=deadline,
    )
    calls = AwsCalls.of(around)
    try:
        yield calls
    finally:
        for client in calls.session._clients.values():
            client.close()


@dataclass
class Providers:
    """AWS providers as different clients make them, with one cache folder; their connections are closed at the end."""

    home: Path
    made: list[AwsProvider] = field(default_factory=list)

    @classmethod
    @contextmanager
    def of(cls, box: SandboxBox, home: Path) -> Iterator[Providers]:
        """While this process's environment leads to ``box``."""
        with environment(box, home):
            clients = cls(home)
            try:
                yield clients
            finally:
                for provider in clients.made:
                    for client in provider.calls.session._clients.values():
                        client.close()

    def make(
        self,
        *,
        heard: Heard | None = None,
        clock: Clock | None = None,
        read_only: bool = False,
        **settings: Any,
    ) -> AwsProvider:
        """A client of its own: own session, own memory. Instances need no profile unless a test asks for one."""
        settings = {"aws__instance_profile": "", **settings}
        around = surroundings(
            env={"HOME": str(self.home)}, emit=heard, clock=clock, read_only=read_only, **settings
        )
        self.made.append(AwsProvider(around))
        return self.made[-1]

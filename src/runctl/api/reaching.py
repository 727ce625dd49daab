"""Machines by any name a person has for them, and what can be done on one besides running a script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runctl import registry
from runctl.api.syncing import machine_at
from runctl.api.watching import get_run
from runctl.core.catalogue import known
from runctl.core.errors import AccessError, MachineGone, UsageError
from runctl.core.model import Resources
from runctl.core.ports import Forwards, OverSsh, Shells
from runctl.core.ssh_address import SCHEME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.model import Endpoint
    from runctl.core.ports import Completed, Terminal, Transport


EC2_USER = (
    "ec2-user"  # of Amazon Linux, https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/managing-users.html
)


@dataclass(frozen=True)
class Reached:
    """A machine, by its own name, and the way to it."""

    name: str
    endpoint: Endpoint
    transport: Transport


def reach(rt: Runtime, word: str) -> Reached:
    """The machine called ``word``: ``local``, a run's, one of ours by id or name, or any that a provider can name.

    Reads only, and asks the clouds only for what is neither ``local`` nor a run.

    Raises:
        UsageError: ``machine-unknown``; ``run-ambiguous``.
    """
    name, endpoint = _found(rt, word)
    return Reached(name, endpoint, rt.transport(endpoint))


def _found(rt: Runtime, word: str) -> tuple[str, Endpoint]:
    if word not in registry.PROVIDERS:
        try:
            run = get_run(rt, word)
            if run.machine:
                return run.machine, run.endpoint
        except UsageError as error:
            if error.code != "run-not-found":
                raise
    try:
        place = machine_at(rt, word)
    except UsageError as error:
        if error.code != "unknown-target":
            raise known("machine-unknown", word=word, detail=error.what) from error
        return word, _named(rt, word)
    except AccessError as error:
        raise known("machine-unknown", word=word, detail=error.what) from error
    return place.name, place.endpoint


def _named(rt: Runtime, word: str) -> Endpoint:
    """A machine that is not ours: a provider knows it by its id."""
    detail = "no provider knows it"
    for name in registry.names("providers"):
        provider = rt.provider(name, read_only=True)
        if not provider.features.costs_money:
            continue
        try:
            offer = provider.offers(Resources(machine=word), rt.cancel)[0]
        except (MachineGone, UsageError) as error:
            detail = f"{error.what}: {error.why}"
            continue
        endpoint = provider.endpoint(offer)
        if endpoint is not None:
            return endpoint
    raise known("machine-unknown", word=word, detail=detail)


def execute(
    rt: Runtime,
    word: str,
    argv: Sequence[str],
    *,
    stdin: Iterable[bytes] = (),
    on_output: Callable[[bytes], None] | None = None,
    on_errors: Callable[[bytes], None] | None = None,
) -> tuple[str, Completed]:
    """Run ``argv`` on the machine called ``word``; the machine's name, and how it ended.

    A cancel ends the command there. Raises as ``reach`` and ``Transport.exec`` do.
    """
    there = reach(rt, word)
    done = there.transport.exec(argv, stdin=stdin, on_output=on_output, on_errors=on_errors, cancel=rt.cancel)
    return there.name, done


def shell(rt: Runtime, word: str, terminal: Terminal) -> None:
    """A shell on the machine called ``word``, until it ends. Raises as ``reach`` does, ``transport-cannot``."""
    there = reach(rt, word)
    if not isinstance(there.transport, Shells):
        raise _cannot("a shell", there)
    there.transport.shell(terminal, rt.cancel)


def forward(
    rt: Runtime, word: str, local_port: int, host: str, port: int, *, on_ready: Callable[[str, int], None]
) -> None:
    """Carry TCP connections from a port here to ``host:port`` as the machine called ``word`` sees them, until a cancel.

    ``on_ready`` is told the machine's name and the local port. Raises as ``reach`` does, ``transport-cannot``,
    ``port-taken``; ``Cancelled`` at the end.
    """
    there = reach(rt, word)
    if not isinstance(there.transport, Forwards):
        raise _cannot("forwarding a port", there)
    there.transport.forward(
        local_port, host, port, on_ready=lambda local: on_ready(there.name, local), cancel=rt.cancel
    )


def connect(
    rt: Runtime,
    word: str,
    host: str,
    port: int,
    *,
    stdin: Iterable[bytes],
    on_output: Callable[[bytes], None],
) -> None:
    """One TCP connection from the machine called ``word`` to ``host:port``. Raises as ``forward`` does."""
    there = reach(rt, word)
    if not isinstance(there.transport, Forwards):
        raise _cannot("forwarding a port", there)
    there.transport.carry(host, port, stdin=stdin, on_output=on_output, cancel=rt.cancel)


def ssh_settings(rt: Runtime, word: str, *, user: str, port: str) -> tuple[str, dict[str, str]]:
    """What an SSH configuration has to say of the machine called ``word``: the host's name for it, and the settings.

    ``user`` and ``port``, where they are not empty, stand in place of what would be said without them. Raises as
    ``reach`` does, ``transport-cannot``.
    """
    there = reach(rt, word)
    name = there.name
    given = {key: value for key, value in (("User", user), ("Port", port)) if value}
    if isinstance(there.transport, OverSsh):
        plain = name.removeprefix(SCHEME).partition("?")[0]
        return plain, {**there.transport.ssh_settings(), **given}
    if not isinstance(there.transport, Forwards):
        raise _cannot("ssh through a forwarded connection", there)
    through = f"runctl --quiet port-forward --stdio {name} %p"
    settings = {"HostName": name, "HostKeyAlias": name, "User": EC2_USER, "Port": "22"}
    return name, {**settings, **given, "ProxyCommand": through}


def _cannot(wish: str, there: Reached) -> UsageError:
    error = known("transport-cannot", wish=wish, machine=there.name, transport=there.endpoint.transport)
    assert isinstance(error, UsageError)
    return error

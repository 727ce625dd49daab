"""Puts the machines of a sandbox together: which ground they stand on, what guests are started with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.sandbox.instances import disk, packages, plain
from runctl.sandbox.instances.ground import Ground, Namespaces
from runctl.sandbox.instances.layout import Layout
from runctl.sandbox.instances.machines import Machines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runctl.sandbox.call import Cloud
    from runctl.sandbox.http import Handler
    from runctl.sandbox.state import RoleCredentials


def make(
    folder: Path,
    *,
    front: Handler,
    port: Callable[[], int],
    credentials: Callable[[str, str], RoleCredentials | None],
    agent: list[str] | None = None,
    boot_seconds: float = 0.0,
    plainly: bool = False,
    environ: Mapping[str, str] | None = None,
    private: Sequence[Path] = (),
    keep: Sequence[Path] = (),
) -> Machines:
    """A place for instances below `folder`; call `begin` before anything else.

    In namespaces where the system allows it, else (or with `plainly`) as ordinary processes, and `weaker` says so.
    `front` answers the guests' calls to 127.0.0.1:`port()`; `credentials(instance, role)` are those of its role, None when
    EC2 may not have them;
    `agent` is the argv of the SSM agent. `private` are folders of the host hidden from guests, `keep` such that guests see
    wherever they are.
    """
    layout = Layout(folder.resolve())
    variables = dict(os.environ if environ is None else environ)

    def ground(why: str) -> Ground:
        if why:
            return plain.Processes(layout, port=port, environ=variables, why=why)
        home = Path(variables.get("HOME", "/root"))
        proxy = packages.Proxy(lambda: packages.configured(variables, home))
        return Namespaces(
            layout,
            front=front,
            port=port,
            proxy=proxy,
            environ=variables,
            private=list(private),
            keep=list(keep),
        )

    return Machines(
        layout,
        credentials=credentials,
        ground=ground,
        agent=agent,
        boot_seconds=boot_seconds,
        plainly=plainly,
    )


def build(cloud: Cloud) -> Machines:
    """The machines of a sandbox; `begin` readies them. Raises ValueError for a value that makes no sense.

    Settings: `boot_seconds` (0), `instances` (`plain` for ordinary processes), `agent` (the path of another SSM agent
    than ours).
    """
    from runctl.sandbox.front import Front  # noqa: PLC0415 - the front stands on what is below it

    settings, state = cloud.settings, cloud.state

    def credentials(instance: str, role: str) -> RoleCredentials | None:
        trusted = cloud.guard is None or cloud.guard.ec2_may_assume(role)
        return state.role_credentials(instance, role) if trusted else None

    theirs, genuine, ours = (
        settings.get("agent"),
        str(disk.GUEST / "genuine.py"),
        str(disk.GUEST / "agent.py"),
    )
    if settings.get("instances", "own") not in {"own", "plain"}:
        raise ValueError("the setting `instances` is `own` or `plain`")
    return make(
        state.folder / "machines",
        front=Front(cloud).handle,
        port=lambda: state.port,
        credentials=credentials,
        agent=[sys.executable, *([genuine, theirs] if theirs else [ours])],
        boot_seconds=float(settings.get("boot_seconds", "0")),
        plainly=settings.get("instances") == "plain",
        private=[state.folder],
        keep=[Path(theirs).resolve().parent] if theirs else [],
    )

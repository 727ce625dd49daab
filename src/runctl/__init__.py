"""runctl: take a training script and run it on a machine.

    import runctl

    run = runctl.train("train.py", "--epochs", "3", on="ssh://gpubox")
    run.pull(to="models/")

``train``, ``plan``, ``runs`` and ``run``; what they raise is a ``RunctlError``; what happens is in ``runctl.events``.
A name is loaded when it is first used: to import this package costs nothing.
"""

TYPE_CHECKING = False  # typing itself costs more than all of this
if TYPE_CHECKING:
    from typing import Any

    from runctl.core import events as events
    from runctl.core.errors import AccessError as AccessError
    from runctl.core.errors import AgentError as AgentError
    from runctl.core.errors import Cancelled as Cancelled
    from runctl.core.errors import CapacityError as CapacityError
    from runctl.core.errors import InstallError as InstallError
    from runctl.core.errors import InternalError as InternalError
    from runctl.core.errors import MachineGone as MachineGone
    from runctl.core.errors import ReleaseOwed as ReleaseOwed
    from runctl.core.errors import RunctlError as RunctlError
    from runctl.core.errors import ScriptFailed as ScriptFailed
    from runctl.core.errors import UnreachableError as UnreachableError
    from runctl.core.errors import UsageError as UsageError
    from runctl.core.events import Position as Position
    from runctl.core.model import Outcome as Outcome
    from runctl.core.model import RunState as RunState
    from runctl.python.handle import Events as Events
    from runctl.python.handle import Run as Run
    from runctl.python.options import Options as Options
    from runctl.python.place import RunctlWarning as RunctlWarning
    from runctl.python.verbs import Plan as Plan
    from runctl.python.verbs import plan as plan
    from runctl.python.verbs import run as run
    from runctl.python.verbs import runs as runs
    from runctl.python.verbs import train as train
    from runctl.version import __version__ as __version__

_HOMES = {
    **dict.fromkeys(("plan", "run", "runs", "train", "Plan"), "runctl.python.verbs"),
    **dict.fromkeys(("Events", "Run"), "runctl.python.handle"),
    "Options": "runctl.python.options",
    "RunctlWarning": "runctl.python.place",
    "Position": "runctl.core.events",
    **dict.fromkeys(("Outcome", "RunState"), "runctl.core.model"),
    **dict.fromkeys(
        (
            "AccessError",
            "AgentError",
            "Cancelled",
            "CapacityError",
            "InstallError",
            "InternalError",
            "MachineGone",
            "ReleaseOwed",
            "RunctlError",
            "ScriptFailed",
            "UnreachableError",
            "UsageError",
        ),
        "runctl.core.errors",
    ),
    "events": "runctl.core",
    "__version__": "runctl.version",
}


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only when something is used

    home = import_module(f"{_HOMES[name]}.{name}" if name == "events" else _HOMES[name])
    return home if name == "events" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(_HOMES)

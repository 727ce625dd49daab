"""The one shape of an error, and the families by who has to act.

``RunctlError`` says *what* failed, *why* we believe it did, how to *fix* it and the facts around it.
The families below fix the exit code. The wording of every known failure stands in ``core.catalogue``;
raise one with ``raise known("code", **facts)``.

    RunctlError
    ├── UsageError          2   the command line, the config or the project is wrong
    ├── AccessError         3   somebody has to grant a permission
    ├── CapacityError       4   no machine, no quota, no budget
    ├── UnreachableError    5   the machine or the service does not answer
    ├── MachineGone         6   the machine no longer exists
    ├── ReleaseOwed         7   something may still be billed
    ├── InstallError        8   the environment could not be built
    ├── AgentError          9   the program on the machine failed
    ├── ScriptFailed        1   the training itself ended badly
    ├── InternalError      70   a bug in runctl
    └── Cancelled         130   somebody pressed Ctrl+C
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMA_VERSION = 1


class RunctlError(Exception):
    """A failure a person can act on.

    Args:
        code: stable name of the failure, a key of ``core.catalogue.CATALOGUE``.
        what: one line, what failed.
        why: the cause we believe, empty when we have none.
        fix: lines to read or paste, in order of likelihood.
        context: facts (step, run, path ...), printable.
        transient: whether the same call may succeed later without anybody acting.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        code: str,
        *,
        what: str,
        why: str = "",
        fix: Iterable[str] = (),
        context: Mapping[str, Any] | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.why = why
        self.fix = tuple(fix)
        self.context: dict[str, Any] = dict(context or {})
        self.transient = transient

    def add_context(self, **facts: Any) -> RunctlError:
        """Attach facts as the error passes; what is already there stays. Returns the error itself."""
        self.context = {**facts, **self.context}
        return self

    def to_json(self) -> dict[str, Any]:
        """The same fields as the terminal shows, for ``--json`` and for records."""
        return {
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "fix": list(self.fix),
            "context": {key: str(value) for key, value in self.context.items()},
            "transient": self.transient,
            "exit_code": self.exit_code,
        }


class UsageError(RunctlError):
    """The command line, the configuration or the project is wrong: the user acts."""

    exit_code = 2


class AccessError(RunctlError):
    """A permission is missing: whoever owns the account acts."""

    exit_code = 3


class CapacityError(RunctlError):
    """No machine, no quota or no budget."""

    exit_code = 4


class UnreachableError(RunctlError):
    """A machine or a service does not answer."""

    exit_code = 5


class MachineGone(RunctlError):
    """The machine no longer exists; what ran there is preempted."""

    exit_code = 6


class ReleaseOwed(RunctlError):
    """Something may still be billed."""

    exit_code = 7


class InstallError(RunctlError):
    """The environment could not be built."""

    exit_code = 8


class AgentError(RunctlError):
    """The program on the machine failed."""

    exit_code = 9


class ScriptFailed(RunctlError):
    """The training ended with a non-zero exit status or by a signal."""

    exit_code = 1


class InternalError(RunctlError):
    """A bug in runctl."""

    exit_code = 70


class Cancelled(RunctlError):
    """Somebody asked to stop. Never swallowed, never left unbounded. ``what`` is who or what asked."""

    exit_code = 130

    def __init__(self, code: str = "cancelled", *, what: str = "cancelled", **more: Any) -> None:
        super().__init__(code, what=what, **more)


class NotBought(Cancelled):
    """Cancelled before anything was asked of the provider: nothing can be owed."""

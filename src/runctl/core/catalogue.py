"""Every known failure, once: its family, its words, its fix. Docs, ``runctl explain`` and errors read this table.

Texts are ``str.format`` templates over the facts given to ``known``. A fix line that is a command starts with
two spaces, so that it can be pasted; other lines are prose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Known:
    """One known failure: family, words as templates, and a longer text for the troubleshooting guide."""

    family: type[errors.RunctlError]
    what: str
    why: str = ""
    fix: tuple[str, ...] = ()
    explain: str = ""
    transient: bool = False


class _Facts(dict[str, Any]):
    """Facts for a template; a fact that is not known shows as ``?`` rather than hiding the error behind a KeyError."""

    def __missing__(self, key: str) -> str:
        return "?"


def known(
    code: str, /, *, why: str | None = None, fix: Iterable[str] | None = None, **facts: Any
) -> errors.RunctlError:
    """Build the error ``code`` from the table, filling its templates with ``facts``.

    Args:
        code: a key of ``CATALOGUE``.
        why: replaces the table's cause where the caller knows better.
        fix: replaces the table's fix lines where the caller knows better.
        facts: fill the templates and become the error's context.

    Raises:
        KeyError: the code is not in the table (a test forbids it).
    """
    entry = CATALOGUE[code]
    fill = _Facts(facts)
    return entry.family(
        code,
        what=entry.what.format_map(fill),
        why=entry.why.format_map(fill) if why is None else why,
        fix=[line.format_map(fill) for line in entry.fix] if fix is None else fix,
        context=facts,
        transient=entry.transient,
    )


CATALOGUE: dict[str, Known] = {
    "script-not-found": Known(
        errors.UsageError,
        what="no such script: {script}",
        why="looked in {looked_in}",
        fix=("did you mean {near}?", "  runctl project --files"),
        explain=(
            "The path is taken relative to the directory you are in, then relative to the project root. "
            "`runctl project` shows which root was chosen and why."
        ),
    ),
    # --- engine, transports, registry
    "unknown-target": Known(
        errors.UsageError,
        what="no target is called {target}",
        why="the targets there are: {targets}",
        fix=("  runctl config set target local",),
        explain=(
            "`--on` and the key `target` name where a run goes. Built-in targets and those of installed plug-ins are "
            "listed in the error. A plug-in registers itself through the entry point group `runctl.providers`."
        ),
    ),
    "record-unreadable": Known(
        errors.InternalError,
        what="the record of {run} cannot be read",
        why="{detail}",
        fix=("  runctl runs --all",),
        explain=(
            "A record in the state folder does not have the shape this version writes: it was edited, cut short, or "
            "written by a newer runctl. The run itself lives on its machine and is not touched."
        ),
    ),
    "command-not-started": Known(
        errors.UnreachableError,
        what="cannot start {program}",
        why="{detail}",
        fix=("check that {program} exists and may be executed", "  runctl project"),
        explain=(
            "The operating system refused to start a program runctl needs, usually the Python interpreter that runs "
            "the agent. After an upgrade of Python, reinstall runctl so that it points at the new interpreter."
        ),
    ),
    "agent-reply": Known(
        errors.AgentError,
        what="the agent on the machine failed in `{command}`",
        why="{detail}",
        fix=("repeat the command with --debug", "make sure Python 3.8 or later runs there: python3 -V"),
        explain=(
            "The program runctl ran on the machine ended without an answer runctl understands. The cause shown is the "
            "end of what it wrote to its standard error. A Python older than 3.8, a full disk or a killed process are "
            "the usual reasons. The run itself, if it had started, is not affected."
        ),
    ),
    "agent-stopped": Known(
        errors.UnreachableError,
        what="the connection to the agent ended in `{command}`",
        why="{detail}",
        fix=("  runctl runs",),
        explain=(
            "The command on the machine that feeds this terminal was ended from outside: the machine is going down, "
            "memory ran out, or somebody killed it. runctl asks again by itself, by offset, so nothing is lost; the "
            "run does not depend on this connection."
        ),
        transient=True,
    ),
    "launch-mismatch": Known(
        errors.AgentError,
        what="the machine did not confirm that {run} started",
        why="it answered {answer}",
        fix=("  runctl runs", "repeat the command with --debug"),
        explain=(
            "After handing over a run, runctl checks that the agent answers for that very run with a living "
            "supervisor. It did not. Look at `runctl runs`: if the run is not there, nothing was started."
        ),
    ),
    "file-changed": Known(
        errors.UsageError,
        what="{path} changed between the plan and the sending",
        why="its content no longer has the digest the plan recorded",
        fix=(
            "run the command again when nothing writes to the file",
            "exclude it if the script writes it: exclude in .runctl.toml",
        ),
        explain=(
            "The tree on the machine has to equal the plan byte for byte, so a file that changes while it is sent "
            "stops the run before it starts. Outputs of a script do not belong into the tree: add them to .gitignore "
            "or .runctlignore."
        ),
        transient=True,
    ),
    "checkpoint-none": Known(
        errors.UsageError,
        what="{run} has no complete checkpoint to resume from",
        why="found: {incomplete}",
        fix=("  runctl checkpoint list {run}", "start without --resume"),
        explain=(
            "`--resume RUN` takes the newest checkpoint that a format recognises as complete. A file that is still "
            "being written or was cut short does not count. The script has to save into RUNCTL_CHECKPOINT_DIR."
        ),
    ),
    "release-owed": Known(
        errors.ReleaseOwed,
        what="a machine of {run} may still be billed by {provider}",
        why="{detail}",
        fix=("  runctl clean",),
        explain=(
            "The machine could not be confirmed gone. The debt stands in the ledger of the state folder until "
            "`runctl clean` has released everything that carries the run's tag and seen that it is gone."
        ),
    ),
    "script-failed": Known(
        errors.ScriptFailed,
        what="{script} ended with {how}",
        why="{reason}",
        fix=("  runctl logs {run} --tail 50", "  runctl show {run}"),
        explain=(
            "The training itself ended with a non-zero exit status or by a signal; runctl worked as it should. The "
            "status is the script's own. Its output is kept: `runctl logs RUN`."
        ),
    ),
    "run-cancelled": Known(
        errors.Cancelled,
        what="{run} was cancelled",
        why="{reason}",
        fix=("  runctl show {run}",),
        explain="Somebody cancelled the run with `runctl cancel` while this command was following it.",
    ),
    "run-preempted": Known(
        errors.MachineGone,
        what="{run} was preempted: its machine went away",
        why="{reason}",
        fix=("  runctl train {script} --resume {run}",),
        explain=(
            "The machine was shut down or taken back while the run was on it. What was saved into "
            "RUNCTL_CHECKPOINT_DIR is kept; `--resume RUN` starts from its newest complete checkpoint."
        ),
    ),
}

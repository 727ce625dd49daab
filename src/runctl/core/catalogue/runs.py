"""Failures of runs: how they ended, and their records here."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
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
    "run-not-found": Known(
        errors.UsageError,
        what="no run is called {run}",
        why="neither a name, an id, nor the beginning of one",
        fix=("  runctl runs --all",),
        explain=(
            "A run is named by its name (brave-otter-7k2m), its id, the beginning of either where it fits one run "
            "only, or the word `latest`. Only runs started from this state folder are known here; it is "
            "$RUNCTL_STATE_DIR, else $XDG_STATE_HOME/runctl, else ~/.local/state/runctl."
        ),
    ),
    "run-ambiguous": Known(
        errors.UsageError,
        what="{run} fits more than one run",
        why="it is the beginning of {matches}",
        fix=("write more of the name", "  runctl runs --all"),
        explain="The beginning of a name or an id stands for a run only when it fits no other. Write a longer one.",
    ),
    "run-exists": Known(
        errors.UsageError,
        what="there is already a run called {run}",
        why="its name or its id {id} is taken in this state folder",
        fix=("repeat the command: it picks another name", "  runctl show {run}"),
        explain=(
            "Names are drawn at random from billions and checked; another client took this one in the same moment, "
            "or the same run was recorded twice. Nothing was started. Repeating the command draws a new name."
        ),
    ),
    "state-unwritable": Known(
        errors.AccessError,
        what="cannot write {path}",
        why="{detail}",
        fix=(
            "free some space, or make the folder writable",
            "  RUNCTL_STATE_DIR=/path/to/another/folder runctl runs",
        ),
        explain=(
            "runctl keeps its records in the state folder: $RUNCTL_STATE_DIR, else $XDG_STATE_HOME/runctl, else "
            "~/.local/state/runctl. The disk is full or the folder may not be written. Runs that go on are not "
            "affected: they live on their machine, and are found again once the folder can be written."
        ),
    ),
    "state-busy": Known(
        errors.UnreachableError,
        what="the index of runs is locked by another program",
        why="{path} could not be locked for {seconds} s",
        fix=("repeat the command", "  fuser -v {path}"),
        explain=(
            "Clients share the index and hold it for milliseconds. A client that was stopped (Ctrl+Z, a debugger) in "
            "the middle of a write, or a state folder on a network file system whose locks hang, keeps it locked."
        ),
        transient=True,
    ),
    "state-newer": Known(
        errors.UsageError,
        what="the index of runs was written by a newer runctl",
        why="{path} has schema {found}; this version knows {known}",
        fix=("use the newer version of runctl", "  RUNCTL_STATE_DIR=/path/to/another/folder runctl runs"),
        explain=(
            "A newer version has migrated the state folder. Nothing was changed. The records themselves are JSON "
            "files in runs/ of that folder and can be read by eye."
        ),
    ),
    "run-has-no-store": Known(
        errors.UsageError,
        what="{run} cannot be resumed on another machine",
        why="its code and checkpoints are on its machine only; it ran without a store",
        fix=("  runctl train SCRIPT --resume {run}",),
        explain=(
            "`runctl resume` buys another machine for the same run: same code, same command, from the newest "
            "checkpoint. That needs a store, which runs on AWS have. A run on this machine is continued by a new run."
        ),
    ),
    "logs-since-gone": Known(
        errors.MachineGone,
        what="when {run} wrote each line is not known any more",
        why="its store has the output whole, but the times only its machine has: {detail}",
        fix=("  runctl logs --tail 100 {run}", "  runctl logs {run}"),
        explain=(
            "`runctl logs --since` asks the machine when each line was written. The machine cannot be asked any more, "
            "or not now; all of the output is in the store and can be read without --since."
        ),
    ),
    "run-not-begun": Known(
        errors.UsageError,
        what="{run} never began",
        why="the client that started it ended before all that a machine needs was in the store",
        fix=("  runctl clean", "  runctl train {script}"),
        explain=(
            "A run begins when its request is in the store; before that nothing of it can be taken up again. A machine "
            "may have been bought for it: `runctl clean` gives it back, and it would shut itself down within the lease "
            "time otherwise."
        ),
    ),
    "plan-drifted": Known(
        errors.UsageError,
        what="the plan no longer holds",
        why="{detail}",
        fix=("make it anew and look at it:", "  runctl plan {script} -o plan.json"),
        explain=(
            "`runctl apply` does exactly what a saved plan says. The code, the dependencies or the price have changed "
            "since, so it did nothing."
        ),
    ),
    "plan-unreadable": Known(
        errors.UsageError,
        what="{path} is not a plan of this version",
        why="{detail}",
        fix=("  runctl plan SCRIPT -o plan.json",),
        explain="`runctl apply` reads what `runctl plan -o FILE` wrote.",
    ),
}

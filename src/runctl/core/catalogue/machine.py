"""Failures of the agent on the machine, and the way to it."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "machine-python-too-old": Known(
        errors.UsageError,
        what="the machine's Python is {python}; the agent needs 3.8 or later",
        why="it is the `python3` that was found first on the machine",
        fix=(
            "install Python 3.8 or later there, or name another one:",
            "  runctl config set python /path/to/python3",
        ),
        explain=(
            "All work on a machine is done by one small program that needs nothing but Python 3.8 or later. The "
            "interpreter that was found there is older. It only has to run the agent: the script's own Python comes "
            "from its environment and may be any version. On Amazon Linux 2, `amazon-linux-extras install python3.8`."
        ),
    ),
    "machine-home-not-writable": Known(
        errors.AccessError,
        what="cannot write {path} on the machine",
        why="{detail}",
        fix=("  ls -ld {path}", "make it yours, or choose another folder with RUNCTL_HOME"),
        explain=(
            "The agent keeps code, environments and runs below $RUNCTL_HOME, ~/.runctl unless you say otherwise. The "
            "user it runs as may not write there: the folder belongs to somebody else (a container that ran as root "
            "leaves that behind) or its file system is mounted read-only."
        ),
    ),
    "machine-busy": Known(
        errors.CapacityError,
        what="the machine is busy with the run {other}",
        why="a leased machine holds one run, so that two trainings do not slow each other down",
        fix=("  runctl attach {other}", "  runctl cancel {other}", "or add --share to the same command"),
        explain=(
            "On a machine that is paid for, one run at a time is what you want nearly always: the second one would "
            "compete for the GPU's memory and both would fail. Wait for the other run, cancel it, or say `--share` "
            "when you know that both fit."
        ),
    ),
    "pool-full": Known(
        errors.CapacityError,
        what="{target} has no machine for this run now",
        why="{detail}",
        fix=(
            "  runctl runs --state active",
            "try again when one has ended, or let two runs share one with --share",
        ),
        explain=(
            "The target names several machines. All of them were asked, and each was busy with a run, did not answer, or "
            "has less than the run asks for. A machine of a pool holds one run at a time and is free again when that has "
            "ended; nothing has to be given back by hand."
        ),
        transient=True,
    ),
    "machine-locked": Known(
        errors.AgentError,
        what="another launch or removal on the machine has not finished for {seconds} s",
        why="it holds {path}",
        fix=("try again; if it stays so, look who holds it:", "  lsof {path}"),
        explain=(
            "Launches on one machine go one after the other, each for a fraction of a second. One that takes this long "
            "is stuck, most often on a disk that does not answer. The lock goes away with its holder; deleting the "
            "file does not help."
        ),
        transient=True,
    ),
    "disk-short": Known(
        errors.AccessError,
        what="there is hardly any room left on this computer",
        why="{free} are free at {path}",
        fix=("make some room:", "  du -xsh {path}/* | sort -h | tail"),
        explain=(
            "runctl keeps its records on this computer, and the environments of runs that run on it. With so little "
            "room left, records may be cut short and installations fail."
        ),
    ),
    "disk-full": Known(
        errors.AgentError,
        what="the machine's disk is full",
        why="{free_bytes} bytes are free at {path}",
        fix=("  runctl runs", "  runctl rm RUN", "  df -h"),
        explain=(
            "Code, environments, output and checkpoints of all runs share one disk. Nothing half-written was left "
            "behind, and what was complete stays, so the same command goes on where it stopped once there is room. "
            "`runctl rm` deletes a run that has ended, with its checkpoints; environments under ~/.runctl/envs may be "
            "deleted whenever nothing runs."
        ),
    ),
    "blob-corrupt": Known(
        errors.AgentError,
        what="a file arrived or was kept with the wrong content",
        why="{where}, the content {digest} turned out to be {found}",
        fix=("run the same command again: the content is sent anew",),
        explain=(
            "Every file is named by the SHA-256 of its content and verified when it arrives and again when it is "
            "copied into the run. This one did not match, so the run was not started. What was wrong is deleted. If "
            "it happens again, suspect the machine's disk or memory (`dmesg`)."
        ),
        transient=True,
    ),
    "blob-missing": Known(
        errors.AgentError,
        what="the machine lacks the content of {path}",
        why="it was deleted from the machine's store after it was sent",
        fix=("run the same command again: it is sent anew",),
        explain=(
            "Files are sent once and kept below $RUNCTL_HOME/blobs. Between sending and starting, this one went away: "
            "somebody cleaned the folder. The run was not started; the same command sends what is missing."
        ),
        transient=True,
    ),
    "transfer-truncated": Known(
        errors.UnreachableError,
        what="the transfer ended in the middle of a file",
        why="{got_bytes} of {expected_bytes} bytes of it had arrived",
        fix=("run the same command again: what arrived whole is not sent again",),
        explain=(
            "The connection to the machine was lost while files were sent. Files that had arrived whole are kept and "
            "verified; the one that was on its way is sent again with the next try."
        ),
        transient=True,
    ),
    "tree-unsafe": Known(
        errors.UsageError,
        what="the project cannot be laid out on the machine: {path}",
        why="{detail}",
        fix=("rename it or keep it from travelling:", "  runctl project --why {path}"),
        explain=(
            "The machine refuses a path that would leave the project's folder (`..`, an absolute path, a path through "
            "a link) and two paths that are one file there, as README and readme are on a file system that ignores "
            "case. Add one of them to .runctlignore."
        ),
    ),
    "tree-digest": Known(
        errors.AgentError,
        what="the list of files arrived differently from how it was sent",
        why="its digest is {found}, not {expected}",
        fix=("run the same command again", "  runctl train --debug ..."),
        explain=(
            "The machine computes the digest of the project's file list and compares it with the plan's. They differ, "
            "so the run was not started. A broken transfer is the likely cause; a bug in runctl is the other."
        ),
    ),
    "script-not-started": Known(
        errors.AgentError,
        what="the script could not be started",
        why="{detail}",
        fix=("see the exact command:", "  runctl show RUN"),
        explain=(
            "The operating system refused to start the interpreter. Most often it is gone: the environment's folder "
            "was deleted, or the Python it was made from was removed by an update. Deleting ~/.runctl/envs on the "
            "machine makes the next run build a new one. Arguments longer than the system allows are another cause."
        ),
    ),
    "run-unknown": Known(
        errors.UsageError,
        what="the machine has no run {run}",
        why="it was removed there, or the machine is another one",
        fix=("  runctl runs",),
        explain=(
            "A run's output and checkpoints live on its machine, below $RUNCTL_HOME/runs. There is no such folder: "
            "the run was removed, the folder was deleted, or $RUNCTL_HOME is another than when it was started."
        ),
    ),
    "run-active": Known(
        errors.UsageError,
        what="{name} has not ended; it is {state}",
        fix=("  runctl cancel {name}", "  runctl attach {name}"),
        explain=(
            "A run is deleted with its code, output and checkpoints, so only one that has ended can be. Cancel it, or "
            "wait for its end, and remove it then."
        ),
    ),
    "agent-died": Known(
        errors.AgentError,
        what="the program that supervised the run is gone: {reason}",
        why="it was killed (kill -9, out of memory) or the machine restarted",
        fix=("  runctl logs {run}", "  runctl checkpoint list {run}", "  runctl train SCRIPT --resume {run}"),
        explain=(
            "Each run has a supervisor on its machine that starts the script and records its exit status. It ended "
            "without doing so, so the exit status is not known and the run counts as failed. Output and checkpoints "
            "are kept; resume from the newest one. While the script is still alive, the run shows as running, "
            "unsupervised, and `runctl cancel` ends it."
        ),
    ),
    "agent-request": Known(
        errors.InternalError,
        what="the agent does not understand the request",
        why="{detail}",
        fix=("  runctl --version", "report it with the output of the same command and --debug"),
        explain=(
            "The client and the program it sends to the machine come from the same installation, so they always agree; "
            "this is a bug in runctl, or somebody else speaks to the agent. Nothing was changed on the machine."
        ),
    ),
    "agent-crashed": Known(
        errors.AgentError,
        what="the program on the machine failed: {detail}",
        fix=("run the same command again", "the whole traceback:", "  runctl train --debug ..."),
        explain=(
            "Something failed on the machine in a way that runctl's authors did not foresee. The traceback is part of "
            "the error and of the run's status; supervisor.log in the run's folder on the machine may say more. "
            "Everything the agent does can be repeated safely."
        ),
    ),
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
    "port-taken": Known(
        errors.UsageError,
        what="port {port} of this computer cannot be listened on",
        why="{detail}",
        fix=("take another one, or none to get one that is free",),
        explain=(
            "Another program listens on this port, or it is below 1024 and reserved for the administrator. The local "
            "port may be left out."
        ),
    ),
    "machine-unknown": Known(
        errors.UsageError,
        what="no run and no machine is called {word}",
        why="{detail}",
        fix=("look what there is:", "  runctl runs", "  runctl resources"),
        explain=(
            "A machine is named by `local`, by a run that is or was on it, or by its own id or name. Ids of machines "
            "that runctl did not make are looked up with their provider, in the region of the settings."
        ),
    ),
    "transport-cannot": Known(
        errors.UsageError,
        what="{wish} is not possible on {machine}",
        why="it is reached by the transport {transport}, which has no such thing",
        fix=("  runctl exec {machine} -- COMMAND",),
        explain=(
            "Machines are reached in different ways, and not each of them can do everything: this computer needs no "
            "port forwarded to itself, for one."
        ),
    ),
    "file-not-copied": Known(
        errors.AgentError,
        what="{path} could not be copied between this computer and {machine}",
        why="{detail}",
        fix=("check that the file is there, and that its folder may be written",),
        explain=(
            "The program on the machine that reads or writes the file said why it could not. Nothing half-copied was "
            "left at the target."
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
    "machine-too-small": Known(
        errors.CapacityError,
        what="the machine of target {target} has less than was asked for",
        why="{detail}",
        fix=(
            "ask for less, or for a target that sells machines:",
            "  runctl train SCRIPT --on aws --gpu A10G",
        ),
        explain=(
            "--gpu, --cpus, --memory and --disk are promises the run may count on. A machine that is there already "
            "either keeps them or does not; runctl does not start a run that would find less than it asked for."
        ),
    ),
    "machine-not-there": Known(
        errors.UsageError,
        what="the machine of target {target} does not exist yet",
        why="a plan asks the machine what it has, and this target would have to buy one first",
        fix=("  runctl train --on local SCRIPT",),
        explain=(
            "A provider whose machines cannot begin a run by themselves at boot (`features.boots_agent`) has to say how "
            "its machine is reached (`Provider.endpoint`) before a plan is made."
        ),
    ),
    "sync-which-machine": Known(
        errors.UsageError,
        what="{target} has many machines; which one?",
        why="a project is kept on one machine, and {target} only names who sells them",
        fix=("  runctl resources", "  runctl sync MACHINE"),
        explain=(
            "`runctl sync` takes a machine that is there: `local`, or one you hold, by its id, its name or the run it was "
            "leased for. A machine that is bought for a run gets the run's code by itself."
        ),
    ),
    "no-offer": Known(
        errors.CapacityError,
        what="target {target} offers no machine",
        why="its provider listed nothing that satisfies the request",
        fix=("ask for less, or for another target: --on",),
        explain="The provider was asked what it has for the resources wanted and answered with nothing.",
    ),
    "no-capacity": Known(
        errors.CapacityError,
        what="no machine is to be had now",
        why="{detail}",
        fix=(
            "tried: {tried}",
            "allow more: another --gpu or --instance-type, further regions, or on demand instead of --spot:",
            "  runctl config set aws.regions us-east-1,us-east-2,us-west-2",
        ),
        explain=(
            "Every offer of the plan was tried in its order and the provider had no machine for any of them. Nothing "
            "was bought and nothing is owed. Capacity comes and goes within minutes: the same command may work later, "
            "and more zones, regions or machine types make it likelier now."
        ),
        transient=True,
    ),
    "cancel-slow": Known(
        errors.AgentError,
        what="{run} was told to end but is still {state}",
        why="its processes did not end within the grace and some seconds more",
        fix=("  runctl cancel {run} --grace 0", "  runctl show {run}"),
        explain=(
            "Cancelling sends TERM to every process of the run, waits for the grace, then sends KILL. A process that "
            "survives that hangs in the kernel, usually on a file system that does not answer."
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
    "target-has-none": Known(
        errors.UsageError,
        what="target {target} has no machines of its own to list, start or end",
        why="its machines are there already, or end with their run",
        fix=("  runctl aws list", "  runctl resources"),
        explain="Machines that live on between runs are those of a provider that sells them, such as AWS.",
    ),
    "machine-not-yet": Known(
        errors.UnreachableError,
        what="{machine} is not {wanted} yet; it is {state}",
        why="the time to wait for it is over",
        fix=(
            "wait longer, or look at it:",
            "  runctl aws wait {machine} --timeout 600",
            "  runctl doctor --on aws",
        ),
        explain=(
            "`runctl aws wait` looks at the instance every second. One that runs and cannot be reached most often lacks "
            "its instance profile, or a way to the endpoints of Systems Manager."
        ),
        transient=True,
    ),
}

"""Every known failure, once: its family, its words, its fix. Docs, ``runctl explain`` and errors read this table.

Texts are ``str.format`` templates over the facts given to ``known``. A fix line that is a command starts with
two spaces, so that it can be pasted; other lines are prose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterable


class Known(NamedTuple):
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
    # --- command line and configuration (cli/, project/config.py)
    "usage": Known(
        errors.UsageError,
        what="the command line cannot be understood",
        fix=("  runctl --help",),
        explain=(
            "An argument is missing, is one too many, or has a value its option does not take; the cause is in the "
            "error's second line. `runctl COMMAND --help` lists what a command takes. Arguments of your script "
            "follow `--`: `runctl train train.py -- --epochs 20`."
        ),
    ),
    "unknown-command": Known(
        errors.UsageError,
        what="no such command: {command}",
        fix=("  runctl --help",),
        explain=(
            "The first word that is no option has to be a command of runctl. `runctl --help` lists them all, and "
            "`runctl train SCRIPT` runs a script."
        ),
    ),
    "unknown-option": Known(
        errors.UsageError,
        what="no such option: {option}",
        fix=("  runctl --help",),
        explain=(
            "runctl does not know the option. Options are never abbreviated. An option of your own script belongs "
            "behind `--`, and the error prints the line with the two kept apart. `runctl COMMAND --help` lists the "
            "options of a command."
        ),
    ),
    "confirmation-needed": Known(
        errors.UsageError,
        what="somebody has to confirm: {question}",
        why="stdin is no terminal, so nobody can be asked",
        fix=("add --yes to the command to answer yes",),
        explain=(
            "runctl asks before it spends or deletes, and never waits for an answer where nobody can give one: in a "
            "pipe, in CI, under --json. Nothing was changed. Run the command again with `--yes`, or in a terminal."
        ),
    ),
    "unknown-code": Known(
        errors.UsageError,
        what="no such error code: {wanted}",
        fix=("  runctl explain",),
        explain="The code is the word in brackets after `error`. `runctl explain` without a code lists all of them.",
    ),
    "config-invalid": Known(
        errors.UsageError,
        what="{count} in the configuration",
        fix=("  runctl config --help", "  runctl config validate"),
        explain=(
            "A configuration file or a RUNCTL_ variable has a key that does not exist, a value of the wrong type, or "
            "is no valid TOML. Every problem is listed at once with file, line and column, and nothing has been "
            "started. `runctl config --help` lists every key with what it takes; `runctl config path` shows which "
            "files are read; `runctl config validate` checks again after an edit."
        ),
    ),
    "config-key-unknown": Known(
        errors.UsageError,
        what="no such setting: {key}",
        fix=("  runctl config --help",),
        explain="`runctl config --help` lists every setting. Keys in a section are written with a dot: `ui.color`.",
    ),
    "config-value-wrong": Known(
        errors.UsageError,
        what="{key} {problem}",
        fix=("  runctl config --help",),
        explain=(
            "The value does not fit the setting, so no file was touched. Lists are written with commas "
            "(`runctl config set include 'data/*,models/*'`), the variables in `env` as NAME=VALUE pairs with commas. "
            "`runctl config --help` says what each setting takes."
        ),
    ),
    "config-unwritable": Known(
        errors.UsageError,
        what="cannot write {path}",
        why="{detail}",
        fix=("  runctl config path",),
        explain=(
            "The configuration file, or its folder, cannot be written: a missing permission, a read-only or a full "
            "disk. The file is as it was. `runctl config path` shows which file each layer is in."
        ),
    ),
    "config-exists": Known(
        errors.UsageError,
        what="{path} is already there",
        why="`runctl init` never overwrites a file unless told to",
        fix=("  runctl config show --origin", "  runctl init --print", "  runctl init --force"),
        explain=(
            "There is a configuration already; it was not touched. Change single settings with "
            "`runctl config set KEY VALUE`, which keeps your comments; see what a fresh file would hold with "
            "`runctl init --print`; replace the file with `runctl init --force`."
        ),
    ),
    "bug": Known(
        errors.InternalError,
        what="runctl has a bug: {kind}: {detail}",
        why="nothing in runctl expected this, at {where}",
        fix=(
            "run the same command with --debug, and report what it prints together with the output of:",
            "  runctl --version",
        ),
        explain=(
            "Something failed in a way that runctl's authors did not foresee. Your run, if one was started, goes on "
            "without the client: `runctl runs` lists it and `runctl attach` follows it again. `--debug` prints the "
            "traceback for a report."
        ),
    ),
    "cancelled": Known(
        errors.Cancelled,
        what="cancelled",
        explain=(
            "Somebody pressed Ctrl+C, or the terminal was closed, and runctl stopped what it was doing and gave back "
            "what it held. A run that had already started on its machine is not ended by this: `runctl runs` lists it."
        ),
    ),
    # Dependencies and environments.
    "script-metadata-invalid": Known(
        errors.UsageError,
        what="{script}:{line}: the inline metadata cannot be read",
        why="{detail}",
        fix=(
            "a block looks like this, every line starting with a hash:",
            "  # /// script",
            '  # dependencies = ["numpy"]',
            "  # ///",
        ),
        explain=(
            "The script carries its dependencies itself (PEP 723), in a comment block that runctl reads before anything "
            "else. The block was found but is not complete, stands there twice, or is not TOML. Nothing was started. "
            "Correct the line named, or remove the block to use the project's files instead."
        ),
    ),
    "pyproject-invalid": Known(
        errors.UsageError,
        what="{path}:{line}: cannot be read as a project file",
        why="{detail}",
        fix=("correct that line of {path}",),
        explain=(
            "pyproject.toml (or uv.lock) decides what is installed for the run, and it is not valid TOML, or a "
            "value in its [project] table has the wrong type. Nothing was started. The line is where the reader "
            "stopped; the mistake may be just above it."
        ),
    ),
    "requirements-missing": Known(
        errors.UsageError,
        what="{path}:{line}: {target} does not exist",
        why="the line includes a file that is not in the project",
        fix=("create {target}, or correct line {line} of {path}",),
        explain=(
            "A requirements file may include others (-r) and constraints (-c); every one of them travels with the "
            "project, so each has to be there. Paths are taken relative to the file that names them."
        ),
    ),
    "requirements-outside": Known(
        errors.UsageError,
        what="{path}:{line}: {target} is outside the project",
        why="only files below {root} travel to the machine",
        fix=("move it into the project, or name the packages in {path} itself",),
        explain=(
            "An included requirements file, constraint file or local package lies outside the project root, so that "
            "the machine could never see it. `runctl project` shows which root was chosen and why; a `.runctl.toml` "
            "in a folder further up makes that folder the root."
        ),
    ),
    "requirements-not-sent": Known(
        errors.UsageError,
        what="{target} decides what is installed, but it does not travel to the machine",
        why="{path} needs it, and an ignore rule leaves it out",
        fix=("  runctl project --why {target}",),
        explain=(
            "The files that decide the environment are read on the machine, from the code that was sent. This one is "
            "left out by an ignore rule; name it in the include patterns of the project's configuration."
        ),
    ),
    "requirements-invalid": Known(
        errors.UsageError,
        what="{source}: a requirement cannot be read",
        why="{reason}",
        fix=("correct the line named above in {source}",),
        explain=(
            "A line of the dependency list is neither a requirement (name, extras, version, marker), an option of the "
            "installer, nor a path. Some of these runctl sees before anything starts, others only the installer can "
            "judge; its own words are shown."
        ),
    ),
    "requires-python-invalid": Known(
        errors.UsageError,
        what="the Python requirement {specifier!r} cannot be read",
        why="it is not a version specifier such as >=3.11,<3.14",
        fix=("correct requires-python in the script's metadata or in pyproject.toml",),
        explain=(
            "requires-python decides which Python the environment is made from. It takes comparisons separated by "
            "commas; a bare version is not one (write ==3.11.* or >=3.11)."
        ),
    ),
    "python-missing": Known(
        errors.InstallError,
        what="no Python on this machine satisfies {wanted}",
        why="found: {found}",
        fix=(
            "install one on the machine, for example:",
            "  uv python install '{wanted}'",
            "or widen requires-python (or .python-version) of the project",
        ),
        explain=(
            "The project asks for a Python version by requires-python or .python-version. The machine's python3, the "
            "interpreters on its PATH and those managed by uv were looked at, and none fits. Nothing is downloaded "
            "unless UV_PYTHON_DOWNLOADS=automatic is set on the machine."
        ),
    ),
    "python-unsuitable": Known(
        errors.InstallError,
        what="a package does not support Python {python}",
        why="{reason}",
        fix=(
            "set requires-python to a range the package supports, or choose another version of it",
            "log: {log}",
        ),
        explain=(
            "The environment's Python was chosen by requires-python, and a package (or the lock file) says that it "
            "does not work with it. Narrow requires-python, or loosen the pin of that package."
        ),
    ),
    "venv-unavailable": Known(
        errors.InstallError,
        what="{python} cannot make a virtual environment with pip",
        why="{detail}",
        fix=(
            "on Debian and Ubuntu, on the machine:",
            "  sudo apt-get install -y python3-venv python3-pip",
            "or install uv there, which needs neither",
        ),
        explain=(
            "Some distributions ship Python without ensurepip, so that `python3 -m venv` leaves no pip behind. Install "
            "the package named, or uv; then run the same command again."
        ),
    ),
    "resolution-impossible": Known(
        errors.InstallError,
        what="the requirements of {source} cannot be satisfied together",
        why="{reason}",
        fix=("loosen one of the versions named above in {source}", "log on the machine: {log}"),
        explain=(
            "The installer looked for versions that satisfy every requirement at once and found none: two packages "
            "ask for different versions of a third, or a pinned version does not exist. The text is the installer's "
            "own. Nothing was installed and the script was not started."
        ),
    ),
    "package-not-found": Known(
        errors.InstallError,
        what="no package {package} on the index",
        why="{reason}",
        fix=(
            "check the spelling in {source}; the name to install can differ from the name to import",
            "a private index is named in pip's or uv's configuration of the machine",
            "log on the machine: {log}",
        ),
        explain=(
            "The index knows no package of this name, or none for this Python and platform. The import name and the "
            "package name often differ (cv2 is opencv-python, sklearn is scikit-learn). A package of your own index "
            "needs that index in the machine's pip or uv configuration."
        ),
    ),
    "build-failed": Known(
        errors.InstallError,
        what="{package} could not be built",
        why="{reason}",
        fix=(
            "choose a version of it that has a wheel for Python {python}, or install what its build asks for",
            "log on the machine: {log}",
        ),
        explain=(
            "There is no wheel of this package for the machine's Python and platform, so the installer tried to build "
            "it from source and the build failed. Usually a compiler or a library is missing, or the Python is newer "
            "than the package; another requires-python or another version often has a wheel."
        ),
    ),
    "hash-mismatch": Known(
        errors.InstallError,
        what="a downloaded package is not what its hash says: {package}",
        why="{reason}",
        fix=(
            "if the hashes are yours, renew the lock or the --hash lines in {source}",
            "otherwise do not install it: the file on the index was changed",
        ),
        explain=(
            "The bytes that arrived do not have the SHA-256 that the lock file, the requirements or the index "
            "promised. Either the file was replaced on the index, or a proxy altered it, or the hash is old. Nothing "
            "of it was installed."
        ),
    ),
    "index-unreachable": Known(
        errors.InstallError,
        what="the package index cannot be reached from the machine",
        why="{reason}",
        fix=(
            "  runctl train --deps skip SCRIPT",
            "or check the network, the proxy and the index in pip's or uv's configuration of the machine",
            "log on the machine: {log}",
        ),
        explain=(
            "The installer could not talk to the index: no route, no name, a refused or broken connection, or a server "
            "that answers with an error. What is worth it was tried three times. Complete downloads are kept in the "
            "installer's cache, so the next try goes on from there."
        ),
        transient=True,
    ),
    "install-failed": Known(
        errors.InstallError,
        what="{installer} could not install {source}",
        why="{reason}",
        fix=("read the whole log on the machine: {log}",),
        explain=(
            "The installer failed for a reason runctl does not know; its last words are shown. The whole output is in "
            "the log on the machine and, line by line, in the run's events. Nothing half-installed is ever used: the "
            "next run builds the environment anew."
        ),
    ),
    # --- checkpoints (cli/checkpoint.py, formats/)
    "checkpoint-path-missing": Known(
        errors.UsageError,
        what="no such file or folder: {path}",
        why="a name with a slash, or one that starts with a dot, is taken as a path on this machine",
        fix=("  runctl checkpoint list RUN", "  runctl runs"),
        explain=(
            "`runctl checkpoint` takes a path on this machine or the name of a run. For the checkpoints of a run, name "
            "the run: they lie on its machine, and its agent looks at them there."
        ),
    ),
    "checkpoint-not-found": Known(
        errors.UsageError,
        what="there is no complete checkpoint in {where}",
        why="found: {found}",
        fix=("  runctl checkpoint list {where}", "  runctl checkpoint --help"),
        explain=(
            "A checkpoint counts when one of the known formats (torch, safetensors, npz, pickle and joblib, and folders "
            "with an index) recognises it as complete. A file that is still being written, was cut short, or tells "
            "nothing about where it ends (a compressed pickle, a torch file older than 1.6) does not. "
            "The script has to save into RUNCTL_CHECKPOINT_DIR."
        ),
    ),
    "checkpoint-unknown": Known(
        errors.UsageError,
        what="{where} has no checkpoint {name}",
        fix=("  runctl checkpoint list {where}",),
        explain=(
            "After the run's name and a colon comes the path of one of its checkpoints, as `runctl checkpoint list` "
            "prints it in the last column. Without a colon, `info` describes the newest one."
        ),
    ),
    "checkpoint-damaged": Known(
        errors.ScriptFailed,
        what="{damaged} of {total} checkpoints in {where} are damaged",
        why="{reasons}",
        fix=(
            "  runctl checkpoint list {where}",
            "resume from one that is whole, and delete the damaged ones",
        ),
        explain=(
            "`verify` reads every byte and compares the checksums and sizes that the files themselves state. A file "
            "that ends early was most likely being written when the script ended or the disk was full: write to a "
            "temporary name and rename it, as examples/digits does. A checksum that differs means the bytes changed "
            "after they were written. `runctl train --resume` never picks a file whose structure is damaged."
        ),
    ),
    # The agent on the machine.
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
        fix=("  runctl logs RUN", "  runctl checkpoint list RUN", "  runctl train --resume RUN ..."),
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
    # --- project: root, script, files, snapshot ---
    "root-not-found": Known(
        errors.UsageError,
        what="no such folder to use as the project root: {path}",
        why="the path does not exist or is not a folder",
        fix=("  runctl project",),
        explain=(
            "A project root given by hand has to be an existing folder. Without one, runctl searches upwards from the "
            "script; `runctl project` shows which root it finds and why."
        ),
    ),
    "script-link-broken": Known(
        errors.UsageError,
        what="{script} is a link that leads nowhere",
        why="it points to {target}, which does not exist",
        fix=("  ls -l {script}",),
        explain=(
            "The script's path is a symbolic link whose target is missing: it was moved or deleted, or a disk is not "
            "mounted. Make the link anew or name the script's real path."
        ),
    ),
    "script-is-folder": Known(
        errors.UsageError,
        what="{script} is a folder, not a script",
        why="a script is one file",
        fix=("name a file, such as train.py",),
        explain=(
            "`runctl train` runs one file. For a package with a `__main__.py`, name that file: "
            "`runctl train package/__main__.py`. The working directory of the run is the project root."
        ),
    ),
    "script-not-python": Known(
        errors.UsageError,
        what="{script} is not a Python script",
        why="{detail}",
        fix=(
            "give the file the suffix .py",
            "start another program from a small Python script with subprocess",
        ),
        explain=(
            "A script is run by the Python of the environment that runctl builds, so it has to be Python: a file "
            "ending in .py or .pyw, or one whose first line starts Python (`#!/usr/bin/env python3`). A shell script "
            "or a notebook would fail there with a syntax error after all the work was done; turn a notebook into a "
            "script with `jupyter nbconvert --to script`."
        ),
    ),
    "script-unreadable": Known(
        errors.UsageError,
        what="cannot read {script}",
        why="{detail}",
        fix=("  ls -l {script}",),
        explain=(
            "The script is there but may not be read by you, or one of the folders on its way may not be entered. "
            "Change its permissions (`chmod u+r`), or ask its owner."
        ),
    ),
    "script-outside-root": Known(
        errors.UsageError,
        what="{script} is not inside the project {root}",
        why="it lies in {folder}",
        fix=("leave the root out: runctl finds the script's own project", "  runctl project"),
        explain=(
            "A project root was named, and the script lies outside of it, so no path inside the project leads to it. "
            "Without a named root, runctl takes the project around the script."
        ),
    ),
    "script-ignored": Known(
        errors.UsageError,
        what="{script} would not travel",
        why="it is left out by {rule}",
        fix=("  runctl project --why {script}",),
        explain=(
            "The script exists, but a rule keeps it here: an ignore file, `exclude`, the table of things that never "
            "make sense on another machine, or because it looks like a secret. The error names the rule and where it "
            "stands. Change the rule, or bring the file back with `include` in .runctl.toml. `runctl project --why "
            "PATH` explains any path."
        ),
    ),
    "path-outside-project": Known(
        errors.UsageError,
        what="{path} is not inside the project {root}",
        why="only what lies in the project can travel",
        fix=("  runctl project",),
        explain=(
            "`runctl project --why` explains paths of one project, relative to the folder you are in or to the "
            "project root. This one leads out of it. What a script needs has to lie in its project, or be there "
            "already on the machine."
        ),
    ),
    "project-unreadable": Known(
        errors.UsageError,
        what="cannot read {path}{more}",
        why="{detail}",
        fix=(
            "change the permissions, or leave it out with a line in .runctlignore",
            "  runctl project",
        ),
        explain=(
            "A file that belongs to the project, a folder of it, or an ignore file cannot be read. Sending the rest "
            "would run other code than you see, so nothing starts. Make it readable, or leave it out with "
            ".runctlignore or `exclude`."
        ),
    ),
    "file-changing": Known(
        errors.UsageError,
        what="{path} changes while it is read",
        why="its size or times were different after each of three readings, or it disappeared",
        fix=(
            "run the command again when nothing writes to the file",
            "leave it out with a line in .runctlignore",
        ),
        explain=(
            "The snapshot needs the file's content at one moment, and some program keeps writing to it. Logs, "
            "databases and outputs do not belong into the tree: add them to .gitignore or .runctlignore."
        ),
        transient=True,
    ),
    # --- records: index, run folders, listings
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
    # --- views
    "log-unwritable": Known(
        errors.UsageError,
        what="cannot write the log file {path}",
        why="{detail}",
        fix=("name a file in a folder you may write to", "  runctl config show --origin"),
        explain=(
            "`--log-file` and the key `log.file` name a file that runctl appends one JSON object a line to, creating "
            "it and its folders when they are missing. The operating system refused to open it: the folder belongs to "
            "somebody else, the path is a folder, or the disk is full. `runctl config show --origin` says where the "
            "name comes from."
        ),
    ),
    "variable-unset": Known(
        errors.UsageError,
        what="not set in your environment: {names}",
        why="`env_from` ({origin}) hands these variables to the script",
        fix=("set them in your shell, or take them out of env_from", "  runctl config show --origin"),
        explain=(
            "`env_from` and `--env-from` name variables whose values go from your environment to the script without "
            "being recorded. One that is not set would be missing there, so nothing was started."
        ),
    ),
    "machine-not-there": Known(
        errors.UsageError,
        what="the machine of target {target} does not exist yet",
        why="a plan asks the machine what it has, and this target would have to buy one first",
        fix=("  runctl train --on local SCRIPT",),
        explain=(
            "This version plans for machines that are there: this one. A provider plug-in has to say how its machine "
            "is reached (`Provider.endpoint`) before a plan is made."
        ),
    ),
    "no-offer": Known(
        errors.CapacityError,
        what="target {target} offers no machine",
        why="its provider listed nothing that satisfies the request",
        fix=("ask for less, or for another target: --on",),
        explain="The provider was asked what it has for the resources wanted and answered with nothing.",
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
}

"""Failures of the command line and the settings."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
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
    "wrong-keyword": Known(
        errors.UsageError,
        what="{function}() cannot be called like this",
        fix=("  help(runctl.{function})",),
        explain=(
            "The Python API takes each option of `runctl train` as a keyword, with underscores: `--max-hours 2` is "
            "`max_hours=2`. The cause names the keyword, and what it takes. Any other setting goes by its key: "
            '`settings={"aws.profile": "research"}`.'
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
    "config-not-rust": Known(
        errors.UsageError,
        what="{path} is not a configuration of the Rust runctl",
        why="{detail}",
        fix=("name the file", "  runctl config import FILE"),
        explain=(
            "The Rust tool had sections [runpod], [local], [checkpoint] and [monitoring], and keys such as aws.s3_bucket. "
            "`runctl config import` brings over a file that has some of them, .runctl.toml of the project or "
            "~/.config/runctl/config.toml unless another is named."
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
}

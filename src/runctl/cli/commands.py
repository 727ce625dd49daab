"""The table of commands and global options, and the two pages that need nothing else. Imports nothing heavy."""

from __future__ import annotations

# name -> (module, summary, group); the order is the order of the help page
COMMANDS: dict[str, tuple[str, str, str]] = {
    "train": ("runctl.cli.train", "run a script on a machine and follow it", "Run"),
    "plan": ("runctl.cli.plan", "show what train would do, and keep it for apply", "Run"),
    "apply": ("runctl.cli.apply", "do exactly what a kept plan says", "Run"),
    "resume": ("runctl.cli.resume", "go on with a run on another machine", "Run"),
    "workflow": (
        "runctl.cli.workflow",
        "train on a new machine, bring the results home, give it back",
        "Run",
    ),
    "runs": ("runctl.cli.runs", "list runs, newest first", "Watch"),
    "show": ("runctl.cli.show", "show one run: state, steps, cost, what to type next", "Watch"),
    "diff": ("runctl.cli.diff", "show what differs between two runs", "Watch"),
    "verify": ("runctl.cli.verify", "prove what a run ran: code, command, environment", "Watch"),
    "logs": ("runctl.cli.logs", "print a run's output, from any point, and follow it", "Watch"),
    "attach": ("runctl.cli.attach", "follow a run again, as train does", "Watch"),
    "cancel": ("runctl.cli.cancel", "end a run and every process it started", "Watch"),
    "rm": ("runctl.cli.rm", "delete ended runs, here and on their machine", "Watch"),
    "resources": ("runctl.cli.resources", "list all that exists and may cost money", "Watch"),
    "clean": ("runctl.cli.clean", "release machines that may still be billed", "Watch"),
    "stats": ("runctl.cli.stats", "success rates and time per step over all runs", "Watch"),
    "exec": ("runctl.cli.exec", "run a command on a machine", "Machines"),
    "shell": ("runctl.cli.shell", "open a shell on a machine", "Machines"),
    "port-forward": ("runctl.cli.port_forward", "bring a port of a machine to this computer", "Machines"),
    "ssh-config": ("runctl.cli.ssh_config", "print what ssh needs to reach a machine", "Machines"),
    "transfer": ("runctl.cli.transfer", "copy files between here, machines and buckets", "Machines"),
    "checkpoint": ("runctl.cli.checkpoint", "list, describe and verify checkpoints", "Checkpoints"),
    "doctor": ("runctl.cli.doctor", "look at everything a run needs, before it starts", "Project"),
    "sync": ("runctl.cli.sync", "keep the project's tree on a machine as it is here", "Project"),
    "env": ("runctl.cli.env", "list, copy and remove installed environments, here and in a store", "Project"),
    "docker": ("runctl.cli.docker", "build and push images of the project, and train in them", "Project"),
    "init": ("runctl.cli.init", "write a short commented .runctl.toml", "Project"),
    "project": ("runctl.cli.project", "show the project root and which files travel", "Project"),
    "config": ("runctl.cli.config", "show, check and change settings", "Project"),
    "aws": ("runctl.cli.aws", "instances by hand, and the account they are bought in", "Clouds"),
    "s3": ("runctl.cli.s3", "copy, list and clean your own data in a bucket", "Clouds"),
    "sandbox": ("runctl.cli.sandbox", "run an AWS-compatible cloud on this machine", "Clouds"),
    "explain": ("runctl.cli.explain", "explain an error code", "Help"),
    "completion": ("runctl.cli.completion", "print the completion script of a shell", "Help"),
}

# commands whose script takes arguments after `--`
TAKES_SCRIPT_ARGS = frozenset({"train", "plan", "exec", "aws", "workflow", "sandbox", "docker"})

# commands, or commands with their verb, that print events under --json; the others print one value
TELLS_EVENTS = frozenset(
    {"train", "plan", "apply", "resume", "attach", "logs"}
    | {"aws train", "aws logs", "aws monitor", "workflow train", "docker train"}
)

# spellings, the name of the value (empty: a flag), help
GLOBAL_OPTIONS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("--json",), "", "one JSON object per event on stdout, errors included"),
    (("-q", "--quiet"), "", "say nothing but errors and data"),
    (("-v", "--verbose"), "", "show every command executed and intermediate results"),
    (("--debug",), "", "show tracebacks and every call with its timing"),
    (("-y", "--yes"), "", "answer yes to every question"),
    (("--color",), "WHEN", "auto, always or never; NO_COLOR is honoured"),
    (("--log-file",), "PATH", "also write a structured log (JSON lines) to PATH"),
    (("--config",), "FILE", "read FILE in place of the project's own configuration"),
)


def root_help() -> str:
    """The page of ``runctl --help``, from the tables alone."""
    width = max(map(len, COMMANDS)) + 2
    lines = [
        "runctl: take a training script on your laptop and run it on a machine.",
        "",
        "usage: runctl [OPTIONS] COMMAND ...",
        "       runctl train train.py -- --epochs 20",
    ]
    group = ""
    for name, (_, summary, its_group) in COMMANDS.items():
        if its_group != group:
            group = its_group
            lines += ["", f"{group}:"]
        lines.append(f"  {name:{width}}{summary}")
    lines += ["", "Options, before or after the command:"]
    spelled = [
        (", ".join(names) + (f" {value}" if value else ""), text) for names, value, text in GLOBAL_OPTIONS
    ]
    spelled += [("-h, --help", "this page, or the command's"), ("--version", "the version")]
    lines += [f"  {names:18}{text}" for names, text in spelled]
    lines += ["", "`runctl COMMAND --help` explains a command, `runctl explain CODE` an error.", ""]
    return "\n".join(lines)


def version_line() -> str:
    """What ``runctl --version`` prints."""
    from runctl.version import __version__  # noqa: PLC0415 - only when asked

    return f"runctl {__version__}\n"

"""Failures of the sandbox's own life: starting it, finding it, telling it about the weather."""

from runctl.core import errors
from runctl.core.catalogue.entry import Known

ENTRIES = {
    "sandbox-down": Known(
        errors.UnreachableError,
        what="the sandbox {name} is not running",
        why="nothing answers where its record says, or there is no record",
        fix=("  runctl sandbox up --name {name}",),
        explain=(
            "Commands that use a sandbox find it by the record in its folder. There is none, or the process it names "
            "has ended. `runctl sandbox status` lists those that run; `runctl sandbox run -- CMD` starts one for the "
            "time of a command."
        ),
    ),
    "sandbox-extra": Known(
        errors.UsageError,
        what="the sandbox is not installed",
        why="it needs {missing}, which the extra `sandbox` brings",
        fix=("  pip install 'runctl[sandbox]'",),
        explain=(
            "The embedded cloud stands on moto and websockets, which runctl itself never needs. They come with the "
            "extra `sandbox`."
        ),
    ),
    "sandbox-start": Known(
        errors.InternalError,
        what="the sandbox did not start",
        why="{reason}",
        fix=("  runctl sandbox down --name {name}", "the log: {log}"),
        explain=(
            "Its process ended, or did not listen in time. The reason is the last line of the log in its folder. A "
            "port that somebody else holds is the usual one: leave `--port` away and a free one is taken. `runctl "
            "sandbox down` removes what a broken start left."
        ),
    ),
    "sandbox-running": Known(
        errors.UsageError,
        what="the sandbox {name} runs already, with other options",
        why="these count from its start on, and it was not started with them: {other}",
        fix=("  runctl sandbox down --name {name}", "  or another one beside it: --name"),
        explain=(
            "`runctl sandbox up` and `run` leave a sandbox that runs as it is. Port, region, seed, kind of instances and "
            "settings are given when it starts; asked for others, they refuse instead of passing over it. Weather can be "
            "changed at any time, with `runctl sandbox weather`."
        ),
    ),
    "sandbox-setting": Known(
        errors.UsageError,
        what="a setting of the sandbox makes no sense",
        why="{reason}",
        fix=("  runctl sandbox up --help",),
        explain=(
            "`--set NAME=VALUE` sets what the services of a sandbox let be set: how long an instance takes to register "
            "with Systems Manager, how fast its timeouts run, and the like. docs/sandbox.md says what each means."
        ),
    ),
    "sandbox-name": Known(
        errors.UsageError,
        what="{name} cannot be the name of a sandbox",
        why="a name is letters, digits, dots, dashes and underscores, at most 64, and begins with a letter or digit",
        fix=("  runctl sandbox up --name mine",),
        explain="The name of a sandbox is the name of its folder; without `--name` it is `default`.",
    ),
    "sandbox-refused": Known(
        errors.UsageError,
        what="the sandbox refuses",
        why="it could not do what was asked",
        fix=("  runctl sandbox weather --help",),
        explain=(
            "The request was understood and refused: a kind of weather that does not exist, a field that a rule does "
            "not have, an id that is not in force, a host that is not there. The reason says which."
        ),
    ),
    "sandbox-scenario": Known(
        errors.UsageError,
        what="{path} is no scenario",
        why="{reason}",
        fix=("  runctl sandbox weather --help",),
        explain=(
            'A scenario is JSON or TOML: {{"seed": 7, "weather": [{{"kind": "capacity", "zone": "us-east-1a"}}]}}. '
            "Nothing of a scenario with a mistake is put in force."
        ),
    ),
    "sandbox-needs-package": Known(
        errors.UsageError,
        what="the sandbox needs the program {program}, which is not installed",
        why="it comes with the package {package} of Debian and Ubuntu",
        fix=("  apt-get install {package}",),
        explain=(
            "Instances of the sandbox are made with programs of the operating system: `ip` for their network, `sshd` "
            "for those that are reached by SSH. One of them was not found on PATH nor where administrators' tools "
            "are kept. Elsewhere than on Debian and Ubuntu the package may have another name."
        ),
    ),
}

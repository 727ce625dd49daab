"""Every setting, once: what it means, what it may be, where else it can be given. Docs and messages read this table."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.core import ssh_address
from runctl.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1  # `version` of a configuration file


class Setting(NamedTuple):
    """One setting.

    ``kind`` is ``text``, ``choice``, ``number``, ``bool``, ``list`` (of text), ``table`` (name to text) or ``schema``.
    ``flag`` is the option of ``runctl train`` (or, for ``ui`` and ``log``, of every command) that sets it too.
    """

    key: str
    kind: str
    default: Any
    doc: str
    example: str
    flag: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None  # for a number
    above: bool = False  # the minimum itself is not allowed

    @property
    def env(self) -> str:
        """The environment variable that sets it; empty for a table, which has none."""
        return "" if self.kind in ("table", "schema") else "RUNCTL_" + self.key.upper().replace(".", "_")

    @property
    def wants(self) -> str:
        """What a value has to be, in words."""
        if self.kind == "choice":
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind == "number" and self.minimum is not None:
            return f"a number {'above' if self.above else 'of at least'} {self.minimum:g}"
        return _WANTS[self.kind]


_WANTS = {
    "text": "a string",
    "number": "a number",
    "bool": "true or false",
    "list": "a list of strings",
    "table": "a table of strings",
    "schema": str(SCHEMA),
}

_ALL = (
    Setting("version", "schema", SCHEMA, "The version of this file's format.", "version = 1"),
    Setting("target", "text", "local", "The machine to run on.", 'target = "local"', "--on"),
    Setting(
        "deps",
        "choice",
        "wait",
        "Whether the script waits for its dependencies: start when all are installed (wait), start at once and let an "
        "import wait for its package (background), or install nothing (skip).",
        'deps = "background"',
        "--deps",
        ("wait", "background", "skip"),
    ),
    Setting(
        "image",
        "text",
        "",
        "A container image to run the script in; it brings Python and all packages, nothing is installed beside it.",
        'image = "python:3.12-slim"',
        "--image",
    ),
    Setting(
        "python",
        "text",
        "",
        "The Python versions the environment may have; empty takes what the project asks for.",
        'python = ">=3.11,<3.13"',
        "--python",
    ),
    Setting(
        "installer",
        "choice",
        "auto",
        "What installs the dependencies on the machine; auto takes uv when it is there, else pip.",
        'installer = "pip"',
        "--installer",
        ("auto", "uv", "pip"),
    ),
    Setting(
        "max_hours",
        "number",
        None,
        "End the run after so many hours of wall-clock time; unset means no limit.",
        "max_hours = 12",
        "--max-hours",
        minimum=0,
        above=True,
    ),
    Setting(
        "grace_seconds",
        "number",
        30.0,
        "The time a script gets between the request to end (TERM) and being killed.",
        "grace_seconds = 60",
        "--grace",
        minimum=0,
    ),
    Setting(
        "share",
        "bool",
        default=False,
        doc="Let the run start on a leased machine that already holds another one.",
        example="share = true",
        flag="--share",
    ),
    Setting(
        "gpu",
        "text",
        "",
        "The GPU wanted, by its name, and how many of them after a colon; on machines that are there a number alone will do.",
        'gpu = "A10G:1"',
        "--gpu",
    ),
    Setting(
        "cpus", "number", None, "The least number of CPU cores.", "cpus = 8", "--cpus", minimum=0, above=True
    ),
    Setting(
        "memory",
        "number",
        None,
        "The least memory, in GiB.",
        "memory = 32",
        "--memory",
        minimum=0,
        above=True,
    ),
    Setting(
        "disk",
        "number",
        None,
        "The size of the machine's disk, in GiB; unset lets runctl choose by what the run needs.",
        "disk = 200",
        "--disk",
        minimum=0,
        above=True,
    ),
    Setting(
        "cache_volume",
        "text",
        "",
        "Keep downloaded packages and large files of the project on a volume that outlives the machine (AWS), of this name; "
        "auto names it after the project, empty does without. On the command line the name follows an equals sign.",
        'cache_volume = "auto"',
        "--cache-volume",
    ),
    Setting(
        "cache_volume_gb",
        "number",
        50.0,
        "The size of a cache volume that has to be made, in GiB.",
        "cache_volume_gb = 200",
        "--cache-volume-gb",
        minimum=1,
    ),
    Setting(
        "instance_type",
        "text",
        "",
        "One machine type, by its provider's name, instead of choosing by what it has.",
        'instance_type = "g5.xlarge"',
        "--instance-type",
    ),
    Setting(
        "spot",
        "bool",
        default=False,
        doc="Prefer the spot market: much cheaper, and the provider may take the machine back.",
        example="spot = true",
        flag="--spot",
    ),
    Setting(
        "no_fallback",
        "bool",
        default=False,
        doc="With spot: fail rather than buy on demand when no spot machine is to be had.",
        example="no_fallback = true",
        flag="--no-fallback",
    ),
    Setting(
        "max_attempts",
        "number",
        5.0,
        "How many machines a run may take, one after the other, when its provider takes them back.",
        "max_attempts = 10",
        "--max-attempts",
        minimum=1,
    ),
    Setting(
        "machine",
        "text",
        "",
        "An existing machine of the target, by its id, instead of a new one.",
        'machine = "i-0abc1234def567890"',
        "--machine",
    ),
    Setting(
        "keep_machine",
        "bool",
        default=False,
        doc="Keep the machine when the run has ended; it goes on costing until it is released.",
        example="keep_machine = true",
        flag="--keep-machine",
    ),
    Setting(
        "data",
        "list",
        (),
        "Data to bring to the machine before the script starts: s3:// addresses, found there below RUNCTL_DATA_DIR.",
        'data = ["s3://my-bucket/mnist/"]',
        "--data",
    ),
    Setting(
        "output",
        "text",
        "",
        "Where RUNCTL_OUTPUT_DIR is copied when the run ends: an s3:// address; empty keeps it with the run.",
        'output = "s3://my-bucket/results/"',
        "--output",
    ),
    Setting(
        "include",
        "list",
        (),
        "Patterns (as in .gitignore) of files that travel although they are ignored.",
        'include = ["data/small/**"]',
        "--include",
    ),
    Setting(
        "exclude",
        "list",
        (),
        "Patterns (as in .gitignore) of files that stay here.",
        'exclude = ["notebooks/", "*.mp4"]',
        "--exclude",
    ),
    Setting(
        "secrets",
        "list",
        (),
        "Files that look like secrets (.env, keys) and may travel all the same, by their path in the project.",
        'secrets = [".env"]',
        "--allow-secret",
    ),
    Setting(
        "env",
        "table",
        {},
        "Environment variables for the script. They are recorded with the run: for secrets use env_from.",
        'env = { OMP_NUM_THREADS = "4" }',
        "--env",
    ),
    Setting(
        "env_from",
        "list",
        (),
        "Names of variables to hand to the script from your own environment; values are never recorded or shown.",
        'env_from = ["WANDB_API_KEY"]',
        "--env-from",
    ),
    Setting(
        "hosts",
        "table",
        {},
        "Names for SSH hosts, to be used as targets. Several addresses with spaces between them are a pool: a run takes "
        "one that is free.",
        'hosts = { lab = "ssh://gpu1 ssh://me@gpu2:2222" }',
    ),
    Setting(
        "ssh.config",
        "text",
        "",
        "A file to use in place of ~/.ssh/config (as `ssh -F`). Not in a project's file: it can name programs to run.",
        'config = "~/.ssh/config.work"',
    ),
    Setting(
        "aws.profile", "text", "", "The AWS profile; empty takes the usual chain.", 'profile = "research"'
    ),
    Setting(
        "aws.region",
        "text",
        "",
        "The AWS region of the bucket and the machines; empty takes the one of the profile.",
        'region = "us-west-2"',
        "--region",
    ),
    Setting(
        "aws.regions",
        "list",
        (),
        "Further regions in which machines may be bought.",
        'regions = ["us-east-1", "us-east-2"]',
    ),
    Setting(
        "aws.bucket",
        "text",
        "",
        "The bucket for code, runs and checkpoints; empty: runctl-ACCOUNT-REGION, as `runctl aws setup` makes it.",
        'bucket = "my-runs"',
    ),
    Setting(
        "aws.prefix", "text", "runctl", "What runctl's keys in the bucket begin with.", 'prefix = "team-a"'
    ),
    Setting(
        "aws.instance_profile",
        "text",
        "runctl-instance",
        "The instance profile of machines that runctl buys.",
        'instance_profile = "train-node"',
    ),
    Setting("aws.subnet", "text", "", "A subnet instead of the default ones.", 'subnet = "subnet-0abc"'),
    Setting(
        "aws.security_group",
        "text",
        "",
        "A security group instead of the default one; nothing needs to come in.",
        'security_group = "sg-0abc"',
    ),
    Setting(
        "aws.image",
        "text",
        "",
        "The AMI, or the SSM parameter that names it; empty chooses by architecture and GPU.",
        'image = "ami-0abc"',
    ),
    Setting(
        "aws.sessions",
        "choice",
        "auto",
        "Whether machines are spoken to through sessions of Systems Manager (auto: where they are allowed), or through its "
        "commands alone (off), which are slower and know neither shells nor port forwarding.",
        'sessions = "off"',
        choices=("auto", "off"),
    ),
    Setting(
        "aws.lease_minutes",
        "number",
        30.0,
        "A machine shuts itself down when its agent has not renewed the lease for so long.",
        "lease_minutes = 60",
        minimum=5,
    ),
    Setting(
        "retries.attempts",
        "number",
        6.0,
        "How often a call to a cloud is tried, the first time included, when the failure may pass.",
        "attempts = 10",
        minimum=1,
    ),
    Setting(
        "retries.deadline_seconds",
        "number",
        120.0,
        "How long one call may be tried in all.",
        "deadline_seconds = 300",
        minimum=0,
        above=True,
    ),
    Setting(
        "ui.color",
        "choice",
        "auto",
        "Colour in the terminal; auto also honours NO_COLOR.",
        'color = "never"',
        "--color",
        ("auto", "always", "never"),
    ),
    Setting(
        "ui.quiet_after_seconds",
        "number",
        15.0,
        "Say that a step is still working when it has been quiet for so long.",
        "quiet_after_seconds = 30",
        minimum=0,
        above=True,
    ),
    Setting(
        "log.file",
        "text",
        "",
        "Also write a structured log (JSON lines) here; in a project's file the path is relative to the project.",
        'file = "runctl.log"',
        "--log-file",
    ),
    Setting(
        "log.level",
        "choice",
        "info",
        "The least important line that the log keeps.",
        'level = "debug"',
        choices=("debug", "info", "warning", "error"),
    ),
)

SETTINGS: dict[str, Setting] = {setting.key: setting for setting in _ALL}
SECTIONS = tuple(sorted({key.partition(".")[0] for key in SETTINGS if "." in key}))
USERS_OWN = (
    "ssh.config",
)  # may name programs to run: a project's file, which may be somebody else's, cannot set them

# RUNCTL_ variables that are no settings: where runctl keeps its files, and what a script is told about its own run
OTHER_VARIABLES = (
    "RUNCTL_ATTEMPT",
    "RUNCTL_CHECKPOINT_DIR",
    "RUNCTL_DATA_DIR",
    "RUNCTL_HOME",
    "RUNCTL_OUTPUT_DIR",
    "RUNCTL_RESUME_PATH",
    "RUNCTL_RUN_ID",
    "RUNCTL_RUN_NAME",
    "RUNCTL_STATE_DIR",
)

_VERSIONS = re.compile(r"\s*(===|==|~=|!=|<=|>=|<|>)?\s*v?(\d+(?:\.\d+)*)(\.\*)?\s*\Z")  # one clause, PEP 440
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class WrongValueError(ValueError):
    """A value that its setting does not take; the message says what it wants, as in ``needs a number, not "x"``."""


def as_toml(value: Any) -> str:
    """A value as one writes it in TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str):
        import json  # noqa: PLC0415 - only to show; JSON's escapes are among TOML's

        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{name} = {as_toml(item)}" for name, item in value.items()) + " }"
            if value
            else "{}"
        )
    return str(value)


def shown(value: Any) -> str:
    """``as_toml``, shortened to fit a line of a message."""
    text = " ".join(as_toml(value).split())
    return text if len(text) <= 60 else text[:57] + "..."  # a line has a message as well


def _refuse(setting: Setting, value: Any) -> WrongValueError:
    return WrongValueError(f"needs {setting.wants}, not {shown(value)}")


def check(setting: Setting, value: Any) -> Any:
    """The value of a TOML file as runctl keeps it (lists as tuples, numbers as float). Pure.

    Raises:
        WrongValueError: it has the wrong type or is out of range.
    """
    if setting.kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return _number(setting, value)
    if setting.kind == "list" and isinstance(value, list | tuple):
        return _items(setting, value)
    if setting.kind == "table" and isinstance(value, dict):
        one = _host if setting.key == "hosts" else _variable
        return {name: one(name, item) for name, item in value.items()}
    if _is_plain(setting, value):
        return _specifier(value) if setting.key == "python" else value
    raise _refuse(setting, value)


def _is_plain(setting: Setting, value: Any) -> bool:
    """Whether a value of one of the kinds that are kept as they are fits."""
    if setting.kind == "bool":
        return isinstance(value, bool)
    if setting.kind == "schema":
        return value == SCHEMA and isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, str) or "\0" in value:
        return False
    return setting.kind == "text" or (setting.kind == "choice" and value in setting.choices)


def _specifier(text: str) -> str:
    """A set of PEP 440 version specifiers; ``3.11`` alone stands for ``==3.11.*``."""
    clauses = []
    for clause in filter(str.strip, text.split(",")):
        found = _VERSIONS.match(clause)
        if found is None:
            raise WrongValueError(f'needs Python versions such as ">=3.11,<3.13", not {shown(text)}')
        operator, numbers, wild = found.groups()
        if operator is None:
            operator, wild = "==", "" if numbers.count(".") > 1 else ".*"
        clauses.append(f"{operator}{numbers}{wild or ''}")
    return ",".join(clauses)


def _number(setting: Setting, value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise _refuse(setting, value) from None
    least = setting.minimum
    if not math.isfinite(number) or (
        least is not None and (number < least or (setting.above and number == least))
    ):
        raise _refuse(setting, value)
    return number


def _items(setting: Setting, value: list[Any] | tuple[Any, ...]) -> tuple[str, ...]:
    """A list of non-empty text; ``env_from`` takes names of variables, the other lists take anything."""
    if not all(isinstance(item, str) and item and "\0" not in item for item in value):
        raise _refuse(setting, value)
    if setting.key == "env_from":
        for name in value:
            if not _VARIABLE.match(name):
                raise WrongValueError(f"{shown(name)} is no name of an environment variable")
    return tuple(value)


def _host(name: str, value: Any) -> str:
    """One name of ``hosts``: addresses with spaces between them."""
    if not _HOST_NAME.match(name):
        raise WrongValueError(f"{shown(name)} is no name for a host: letters, digits, '.', '-' and '_'")
    if not isinstance(value, str) or not value.split():
        raise WrongValueError(f'{name} needs an address, such as "ssh://me@host", not {shown(value)}')
    for each in value.split():
        try:
            ssh_address.parse(each)
        except UsageError as error:
            raise WrongValueError(f"{name}: {error.what}; {error.why}") from error
    return value


def _variable(name: str, value: Any) -> str:
    if not _VARIABLE.match(name):
        raise WrongValueError(f"{shown(name)} is no name of an environment variable")
    if isinstance(value, bool):  # TOML's true reads as Python's True, which no shell would write
        raise WrongValueError(f'{name} needs a string, such as "{str(value).lower()}" or "{int(value)}"')
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and "\0" not in value:
        return value
    raise WrongValueError(f"{name} needs a string, not {shown(value)}")


_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def from_text(setting: Setting, text: str) -> Any:
    """A value written as plain text: an environment variable, ``config set``, a flag. Pure.

    Lists are separated by commas, tables are ``NAME=VALUE`` pairs separated by commas.

    Raises:
        WrongValueError: the text is no value of this setting.
    """
    value: Any = text
    if setting.kind == "bool":
        lower = text.strip().lower()
        if lower not in _TRUE + _FALSE:
            raise _refuse(setting, text)
        value = lower in _TRUE
    elif setting.kind in ("number", "schema"):
        try:
            value = float(text) if setting.kind == "number" else int(text)
        except ValueError:
            raise _refuse(setting, text) from None
    elif setting.kind == "list":
        value = [item.strip() for item in text.split(",") if item.strip()]
    elif setting.kind == "table":
        value = _pairs(setting, text)
    return check(setting, value)


def _pairs(setting: Setting, text: str) -> Mapping[str, str]:
    table = {}
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise WrongValueError(f"{setting.key} needs NAME=VALUE pairs, not {shown(text)}")
        table[name.strip()] = value
    return table

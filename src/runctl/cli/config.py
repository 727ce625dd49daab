"""``runctl config``: see the settings and where each comes from, check them, change them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.project import config as layers
from runctl.project.config_file import PROJECT_FILE, Problem, nearest_key
from runctl.project.places import user_config
from runctl.project.settings import (
    SECTIONS,
    SETTINGS,
    Setting,
    WrongValueError,
    as_toml,
    check,
    from_text,
    shown,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from runctl.cli.session import Session

_SECRET_NAME = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSW(OR)?D|CREDENTIALS?)(_|\Z)", re.IGNORECASE)


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl config``."""
    parser.description = "Show, check and change settings."
    parser.epilog = epilog()
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="every setting and its value", description="Print every setting.")
    show.add_argument(
        "--origin", action="store_true", help="say where each value comes from: file and line, variable"
    )
    get = actions.add_parser(
        "get", help="the value of one setting", description="Print the value of one setting."
    )
    get.add_argument("key", metavar="KEY", help="a setting, such as ui.color")
    change = actions.add_parser(
        "set",
        help="write one setting",
        description="Write one setting; comments stay. Without --user or --project: the project's file, if there is one "
        "or a project to make one for, else the user's.",
    )
    change.add_argument("key", metavar="KEY", help="a setting, such as ui.color")
    change.add_argument("value", metavar="VALUE", help="lists with commas; variables as env.NAME VALUE")
    unset = actions.add_parser(
        "unset",
        help="remove one setting",
        description="Remove one setting. Without --user or --project: from the file its value comes from.",
    )
    unset.add_argument("key", metavar="KEY", help="a setting, such as ui.color")
    for sub in (change, unset):
        where = sub.add_mutually_exclusive_group()
        where.add_argument("--user", action="store_true", help="in the user's file")
        where.add_argument("--project", action="store_true", help="in the project's file")
    actions.add_parser(
        "validate", help="check every layer", description="Check every layer, and list all problems."
    )
    bring = actions.add_parser(
        "import",
        help="bring over a file of the Rust runctl",
        description="Bring over a configuration of the Rust runctl, in its place; the old one is kept beside it.",
    )
    bring.add_argument("file", metavar="FILE", nargs="?", help="the project's or the user's unless given")
    bring.add_argument("-n", "--dry-run", action="store_true", help="print the new file, change nothing")
    actions.add_parser("path", help="the files that are read", description="Print the files that are read.")


def epilog() -> str:
    """Every setting with what it takes, for ``runctl config --help``."""
    import textwrap  # noqa: PLC0415 - only for help

    lines = ["settings (defaults < user file < project file < RUNCTL_... variables < options):"]
    for key, setting in SETTINGS.items():
        takes = (
            f"{setting.wants}; {'unset' if setting.default is None else shown(setting.default)} by default"
        )
        lines.append(f"  {key}  ({takes})")
        lines += textwrap.wrap(setting.doc, 90, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def run(args: argparse.Namespace, session: Session) -> int:
    """Run one action; 0, or 2 for ``validate`` with problems.

    Raises:
        UsageError: ``config-not-rust``, ``config-key-unknown``, ``config-value-wrong``, ``config-invalid``, ``config-unwritable``.
    """
    actions: dict[str, Callable[[argparse.Namespace, Session], int]] = {
        "show": _show,
        "get": _get,
        "set": _set,
        "unset": _unset,
        "validate": _validate,
        "path": _path,
        "import": _import,
    }
    return actions[args.action](args, session)


def _show(args: argparse.Namespace, session: Session) -> int:
    config = session.config
    rows = [(key, _masked(key, config.get(key)), config.origin(key)) for key in SETTINGS]
    if session.options.json:
        session.out_json([{"key": key, "value": value, "origin": origin} for key, value, origin in rows])
        return 0
    lines = [
        (f"{key} = {'' if value is None else as_toml(value)}".rstrip(), origin) for key, value, origin in rows
    ]
    width = max(len(text) for text, _ in lines)
    for text, origin in lines:
        session.out(f"{text:{width}}  # {origin}" if args.origin else text)
    return 0


def _masked(key: str, value: Any) -> Any:
    """``env`` with what looks like a secret hidden: a listing is pasted into reports."""
    if key != "env":
        return value
    return {name: "***" if _SECRET_NAME.search(name) else text for name, text in value.items()}


def _get(args: argparse.Namespace, session: Session) -> int:
    setting, variable = _setting(args.key)
    config = session.config
    value = config.get(setting.key)
    if variable:
        value = value.get(variable)
    if session.options.json:
        session.out_json({"key": args.key, "value": value, "origin": config.origin(args.key)})
    elif isinstance(value, tuple):
        for item in value:
            session.out(item)
    elif isinstance(value, dict):
        for name, text in value.items():
            session.out(f"{name}={text}")
    elif value is not None:
        session.out(value if isinstance(value, str) else as_toml(value))
    return 0


def _short(value: Any) -> Any:
    """Numbers as people write them: 30, not 30.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _setting(key: str) -> tuple[Setting, str]:
    """The setting ``key`` names, and the name for ``env.NAME`` or ``hosts.NAME``; raises ``config-key-unknown``."""
    name, _, variable = key.partition(".")
    if key in SETTINGS:
        return SETTINGS[key], ""
    if variable and name in SETTINGS and SETTINGS[name].kind == "table":
        return SETTINGS[name], variable
    near = nearest_key(key)
    if name in SECTIONS and not near:
        near = next(known_key for known_key in SETTINGS if known_key.startswith(f"{name}."))
    hint = [f"  runctl config get {near}"] if near else []
    raise known("config-key-unknown", key=key, fix=[*hint, "  runctl config --help"])


def _set(args: argparse.Namespace, session: Session) -> int:
    from runctl.project.config_edit import set_key  # noqa: PLC0415 - tomlkit is only for edits

    setting, variable = _setting(args.key)
    try:
        if variable:
            value: Any = check(setting, {variable: args.value})[variable]
        else:
            value = from_text(setting, args.value)
            layers.check_place(setting.key, value, kind="user" if _wants_user(args, session) else "project")
    except WrongValueError as error:
        raise known("config-value-wrong", key=args.key, problem=str(error)) from error
    path = _file_to_write(args, session)
    changed = set_key(path, args.key, _plain(value))
    line = f"{args.key} = {as_toml(_plain(value))}"
    return _report(
        session, path, args.key, f"{'wrote' if changed else 'already there:'} {line}", changed=changed
    )


def _plain(value: Any) -> Any:
    """A value as TOML has it: lists, and whole numbers without a point."""
    return list(value) if isinstance(value, tuple) else _short(value)


def _unset(args: argparse.Namespace, session: Session) -> int:
    from runctl.project.config_edit import unset_key  # noqa: PLC0415 - as above

    _setting(args.key)
    now, _ = layers.read(session.cwd, env=session.env, file=session.options.config_file)
    path = now.file_of(args.key)
    if path is None or args.user or args.project:
        path = _file_to_write(args, session)
    changed = unset_key(path, args.key)
    return _report(
        session, path, args.key, f"{'removed' if changed else 'not set:'} {args.key}", changed=changed
    )


def _wants_user(args: argparse.Namespace, session: Session) -> bool:
    return _file_to_write(args, session) == user_config(session.env)


def _file_to_write(args: argparse.Namespace, session: Session) -> Path:
    """The file a change goes to: as told, else the project's where there is a project, else the user's."""
    if args.user:
        return user_config(session.env)
    if session.options.config_file is not None:
        return session.options.config_file
    found = layers.find_project_file(session.cwd)
    if found is not None:
        return found
    from runctl.project.root import find_root  # noqa: PLC0415 - only when a file has to be made

    root = find_root(session.cwd)
    if args.project or root.marker is not None:
        return root.path / PROJECT_FILE
    return user_config(session.env)


def _report(session: Session, path: Path, key: str, what: str, *, changed: bool) -> int:
    """Say what was done and where, and whether something stronger has the last word."""
    now, _ = layers.read(session.cwd, env=session.env, file=session.options.config_file)
    effective = now.file_of(key)
    if session.options.json:
        session.out_json({"key": key, "file": str(path), "changed": changed, "origin": now.origin(key)})
        return 0
    session.say(f"{what}\n  in {path}")
    if effective != path and now.origin(key) != "default":
        session.say(f"  but the value in force comes from {now.origin(key)}")
    return 0


def _validate(args: argparse.Namespace, session: Session) -> int:
    del args
    config, problems = layers.read(session.cwd, env=session.env, file=session.options.config_file)
    problems += _target_problems(config)
    warnings = layers.unknown_variables(session.env) + _recorded_secrets(config)
    files = [str(path) for path in (config.user_file, config.project_file) if path is not None]
    session.mark_config_checked()
    if session.options.json:
        session.out_json(
            {
                "valid": not problems,
                "problems": [_problem_json(problem) for problem in problems],
                "warnings": [_problem_json(warning) for warning in warnings],
                "files": files,
            }
        )
        return 2 if problems else 0
    for warning in warnings:
        session.say(f"warning: {warning}")
    if problems:
        raise layers.invalid(problems)
    session.out("valid: " + (", ".join(files) if files else "no file, the built-in settings are in force"))
    return 0


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {**problem._asdict(), "message": str(problem)}


def _target_problems(config: layers.Config) -> list[Problem]:
    """What the target itself has to say: its name is one of the registry's."""
    from runctl import registry  # noqa: PLC0415 - only to validate
    from runctl.core.errors import UsageError  # noqa: PLC0415 - as above

    try:
        registry.check_target(config.text("target"), config.table("hosts"))
    except UsageError as error:
        return [Problem(config.origin("target"), None, None, "target", f"{error.what}; {error.why}")]
    return []


def _recorded_secrets(config: layers.Config) -> list[Problem]:
    """Variables in ``env`` that look like secrets: they would be recorded with every run."""
    return [
        Problem(
            config.origin(f"env.{name}"),
            None,
            None,
            f"env.{name}",
            f'"env.{name}" looks like a secret and is recorded with each run; name it in env_from instead',
        )
        for name in config.table("env")
        if _SECRET_NAME.search(name)
    ]


def _import(args: argparse.Namespace, session: Session) -> int:
    from runctl.cli.config_import import bring_over  # noqa: PLC0415 - only for whoever comes from there

    return bring_over(args, session)


def _path(args: argparse.Namespace, session: Session) -> int:
    del args
    user = user_config(session.env)
    project = session.options.config_file or layers.find_project_file(session.cwd)
    if session.options.json:
        session.out_json(
            {
                "user": str(user),
                "user_exists": user.is_file(),
                "project": None if project is None else str(project),
            }
        )
        return 0
    session.out(f"user     {user}{'' if user.is_file() else '  (not there)'}")
    session.out(f"project  {project or '(none here: runctl init)'}")
    return 0

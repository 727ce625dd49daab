"""``runctl sandbox``: an AWS-compatible cloud on this machine."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from runctl.cli import sandbox_weather

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from runctl.cli.session import Session

EPILOG = """\
examples:
  runctl sandbox up
  eval "$(runctl sandbox env)"
  runctl sandbox run -- aws ec2 describe-instances
  runctl sandbox weather capacity --instance-type 'p4d.*' --market spot
  runctl sandbox weather interrupt --seconds 120
  runctl sandbox down
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl sandbox``."""
    parser.epilog = EPILOG
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + "."
        )
        made.add_argument("--name", metavar="NAME", help="which sandbox; `default` unless given")
        return made

    for name, text in (
        ("up", "start a sandbox in the background; does nothing when it runs"),
        ("run", "run a program whose AWS clients talk to a sandbox; one is started for it when none runs"),
    ):
        _configure_start(verb(name, text))
    verb("status", "say what runs: address, instances, weather")
    gone = verb("down", "end a sandbox and remove all it made")
    gone.add_argument("--keep", action="store_true", help="leave its folder: log and objects")
    verb("reset", "begin anew: no resources, fair weather, same address and credentials")
    verb("env", "print the variables that lead AWS clients to it, for a shell to eval")
    hosts = verb("ssh-host", "boot a host with a real sshd, or list them: plain SSH, without any cloud")
    hosts.add_argument(
        "host", nargs="?", metavar="HOST", help="its name in the printed `ssh -F` configuration"
    )
    hosts.add_argument("--remove", action="store_true", help="end it and delete its disk")
    sandbox_weather.configure(verb("weather", "let go wrong what goes wrong in real clouds"))


def _configure_start(parser: argparse.ArgumentParser) -> None:
    from runctl.cli.arguments import seconds  # noqa: PLC0415 - next to its only use

    parser.add_argument(
        "--port", type=_port, metavar="PORT", help="listen here on 127.0.0.1; any free one unless given"
    )
    parser.add_argument(
        "--region", metavar="REGION", help="the region of clients that say none; us-east-1 unless given"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of random weather; 0 unless given")
    parser.add_argument(
        "--boot-seconds", type=seconds, metavar="S", help="how long an instance takes to boot; 0 unless given"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="instances as ordinary processes, also where namespaces are possible",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of one of its services"
    )


def _port(value: str) -> int:
    from argparse import ArgumentTypeError  # noqa: PLC0415 - loaded already when this runs

    if not (value.isascii() and value.isdigit()) or int(value) > 65535:
        raise ArgumentTypeError(f"{value!r} is no port: a number up to 65535")
    return int(value)


def run(args: argparse.Namespace, session: Session) -> int:
    """Do what the verb says; the status of ``run`` is the program's own.

    Raises:
        UsageError: ``sandbox-name``, ``sandbox-extra``, ``sandbox-running``, ``sandbox-refused``, ``sandbox-scenario``.
        UnreachableError: ``sandbox-down``.
        InternalError: ``sandbox-start``.
    """
    from runctl.project.places import state_dir  # noqa: PLC0415 - `sandbox --help` does without
    from runctl.sandbox import life  # noqa: PLC0415

    if args.script_args and args.verb != "run":
        from runctl.cli.corrections import usage  # noqa: PLC0415 - only for an error

        raise usage(
            f"`runctl sandbox {args.verb}` takes nothing after --", fix=["  runctl sandbox run -- CMD"]
        )
    folder = life.folder_of(session.env, args.name or "default", state_dir=state_dir(session.env))
    verbs = {
        "up": _up,
        "run": _run,
        "status": _status,
        "down": _down,
        "reset": _reset,
        "env": _env,
        "ssh-host": _ssh_host,
        "weather": sandbox_weather.run,
    }
    return verbs[args.verb](args, session, folder)


def _start(args: argparse.Namespace, session: Session, folder: Path) -> Any:
    from runctl.cli.corrections import usage  # noqa: PLC0415
    from runctl.cli.signals import install_signals  # noqa: PLC0415
    from runctl.sandbox import life  # noqa: PLC0415

    settings = {}
    for each in args.set:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise usage(
                f"--set needs NAME=VALUE, not {each!r}",
                fix=["  runctl sandbox up --set ssm_register_seconds=5"],
            )
        settings[name] = value
    if args.boot_seconds is not None:
        settings["boot_seconds"] = str(args.boot_seconds)
    if args.plain:
        settings["instances"] = "plain"
    with install_signals(session.cancel, say=session.say):
        return life.up(
            folder,
            check=session.cancel.check,
            port=args.port,
            region=args.region,
            seed=args.seed,
            settings=settings,
        )


def _up(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.sandbox import life  # noqa: PLC0415

    found = _start(args, session, folder)
    shown = {
        "name": folder.name,
        "endpoint": found.record["endpoint"],
        "folder": str(folder),
        "started": found.started,
    }
    if session.options.json:
        session.out_json({**shown, "env": life.variables(folder, found.record)})
        return 0
    session.out(found.record["endpoint"])
    again = "" if folder.name == "default" else f" --name {folder.name}"
    session.say(
        f"sandbox {folder.name} {'is up' if found.started else 'was up already'}\n"
        f"  use it:  runctl sandbox run{again} -- aws ec2 describe-instances\n"
        f"  end it:  runctl sandbox down{again}"
    )
    return 0


def _run(args: argparse.Namespace, session: Session, folder: Path) -> int:
    """Run the program; a sandbox that was started for it ends with it."""
    from runctl.cli.corrections import usage  # noqa: PLC0415
    from runctl.sandbox import life  # noqa: PLC0415

    if not args.script_args:
        raise usage(
            "`runctl sandbox run` needs a command after --",
            fix=["  runctl sandbox run -- aws sts get-caller-identity"],
        )
    found = _start(args, session, folder)
    try:
        return _program(args.script_args, life.environment(session.env, folder, found.record))
    finally:
        if found.started:
            life.down(folder)


def _program(argv: list[str], env: dict[str, str]) -> int:
    """Run a program in the foreground: signals of the terminal are its own, and its status is ours."""
    import signal  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    from runctl.cli.corrections import usage  # noqa: PLC0415

    try:
        child = subprocess.Popen(argv, env=env)
    except OSError as error:
        raise usage(
            f"cannot run {argv[0]}: {error.strerror}", fix=[f"  which {shlex.quote(argv[0])}"]
        ) from error
    forwarded = (signal.SIGTERM, signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda number, _: child.send_signal(number)) for number in forwarded
    }
    before[signal.SIGINT] = signal.signal(
        signal.SIGINT, lambda *_: None
    )  # the terminal sends it to the child too
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _status(args: argparse.Namespace, session: Session, folder: Path) -> int:
    """A line for each sandbox, or for the one that is named; 0 when one runs, 5 when none does."""
    from runctl.core.catalogue import known  # noqa: PLC0415
    from runctl.core.errors import UnreachableError  # noqa: PLC0415
    from runctl.project.places import state_dir  # noqa: PLC0415
    from runctl.sandbox import life  # noqa: PLC0415

    if args.name and not (folder / "sandbox.json").exists():
        raise known("sandbox-down", name=args.name)
    found: list[dict[str, Any]] = []
    state = state_dir(session.env)
    for name in [args.name] if args.name else life.names(session.env, state_dir=state):
        place = life.folder_of(session.env, name, state_dir=state)
        try:
            found.append({"state": "up", **life.ask(life.find(place), "GET", "status")})
        except UnreachableError:
            found.append({"state": "gone", "name": name, "folder": str(place)})
    if session.options.json:
        session.out_json(found)
    elif found:
        from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - only for the table
        from runctl.views.sandbox import sandboxes  # noqa: PLC0415

        session.out(sandboxes(found, width=out_width(), style=out_style(session)))
    else:
        session.say("no sandbox is up")
    return 0 if any(each["state"] == "up" for each in found) else UnreachableError.exit_code


def _down(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.sandbox import life  # noqa: PLC0415

    there = life.down(folder, keep=args.keep)
    if session.options.json:
        session.out_json({"name": folder.name, "ended": there})
    session.say(f"sandbox {folder.name} {'is gone' if there else 'was not there'}")
    return 0


def _reset(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.sandbox import life  # noqa: PLC0415

    del args
    answer = life.ask(life.find(folder), "POST", "reset")
    if session.options.json:
        session.out_json(answer)
    session.say(f"sandbox {folder.name} is as new")
    return 0


def _env(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.sandbox import life  # noqa: PLC0415

    del args
    record = life.find(folder)
    wanted = life.variables(folder, record)
    if session.options.json:
        session.out_json(wanted)
        return 0
    session.out("unset " + " ".join(life.hidden(session.env)))
    for name, value in life.environment(session.env, folder, record).items():
        if name in wanted or name in life.DIRECT:
            session.out(f"export {name}={shlex.quote(value)}")
    return 0


def _ssh_host(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.cli.corrections import usage  # noqa: PLC0415 - only for an error
    from runctl.sandbox import life  # noqa: PLC0415

    record = life.find(folder)
    if args.remove and args.host is None:
        raise usage("--remove needs the name of a host", fix=["  runctl sandbox ssh-host"])
    if args.remove:
        answer = life.ask(record, "DELETE", f"hosts/{args.host}")
    elif args.host:
        answer = life.ask(record, "POST", "hosts", {"host": args.host})
    else:
        answer = life.ask(record, "GET", "hosts")
    if session.options.json:
        session.out_json(answer)
        return 0
    for each in answer["hosts"]:
        session.out(f"ssh -F {shlex.quote(answer['config'])} {each['name']}")
    if not answer["hosts"]:
        session.say("no SSH host is up")
    return 0

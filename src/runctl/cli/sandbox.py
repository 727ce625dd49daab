"""``runctl sandbox``: an AWS-compatible cloud on this machine, and its weather."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from runctl.cli.session import Session

EPILOG = """\
examples:
  runctl sandbox up
  eval "$(runctl sandbox env)"
  runctl sandbox run -- aws ec2 describe-instances
  runctl sandbox weather capacity --instance-type 'p4d.*' --market spot --times 3
  runctl sandbox weather interrupt --seconds 120
  runctl sandbox down
"""
WEATHER_EPILOG = """\
kinds that meet calls, until they are removed: capacity, throttle, error, unavailable, denied, expired (errors);
slow, cut (connections); silent, lost, undeliverable (SSM agents). Kinds that happen once, to the running instances
that match: interrupt, rebalance, die, disk-full, disk-free; and skew (the sandbox's clock), clear.

Texts to match are patterns: 'p4d.*', 'us-east-1?', 'Describe*'. Without a kind, the weather in force is listed.

examples:
  runctl sandbox weather throttle --service ec2 --action 'Describe*' --chance 0.3
  runctl sandbox weather cut --service s3 --action GetObject --after-bytes 1000000 --times 1
  runctl sandbox weather interrupt --instance i-0abc --at 30 --seconds 120
  runctl sandbox weather --scenario storm.json
  runctl sandbox weather clear
"""
TEXTS = (
    "service",
    "action",
    "region",
    "zone",
    "instance_type",
    "market",
    "key",
    "instance",
    "access_key",
    "code",
    "message",
)
NUMBERS = {
    "chance": (float, "the share of matching calls that is disturbed, 0 to 1"),
    "times": (int, "disturb so many calls, then no more"),
    "skip": (int, "let so many matching calls pass first"),
    "at": (float, "begin so many seconds from now"),
    "seconds": (float, "last so long; of an interruption: from notice to end, 120 unless given"),
    "status": (int, "the HTTP status of an error"),
    "delay": (float, "seconds before the answer; of skew: how far the clock is ahead"),
    "after_bytes": (int, "cut the connection after so much of the body"),
    "rate": (int, "bytes a second"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl sandbox``."""
    parser.epilog = EPILOG
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + "."
        )
        made.add_argument(
            "--name", default="default", metavar="NAME", help="which sandbox; several can live side by side"
        )
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
    _configure_weather(verb("weather", "let go wrong what goes wrong in real clouds"))


def _configure_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="PORT",
        help="listen here on 127.0.0.1; any free one unless given",
    )
    parser.add_argument(
        "--region",
        default="us-east-1",
        metavar="REGION",
        help="the region clients use unless they say another",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random weather")
    parser.add_argument(
        "--boot-seconds",
        type=float,
        default=None,
        metavar="S",
        help="how long an instance takes to boot; 0 unless given",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="instances as ordinary processes, also where namespaces are possible",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of one of its services"
    )


def _configure_weather(parser: argparse.ArgumentParser) -> None:
    parser.epilog = WEATHER_EPILOG
    parser.add_argument("kind", nargs="?", metavar="KIND", help="see below")
    for name in TEXTS:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="TEXT",
            help=f"the {name.replace('_', ' ')}"
            + (" of the error" if name in ("code", "message") else " to match"),
        )
    for name, (kind, text) in NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)
    parser.add_argument(
        "--direction", choices=("up", "down"), help="which body is cut: the request's or the answer's"
    )
    parser.add_argument(
        "--scenario", metavar="FILE", help="put every rule of a JSON or TOML file in force, with its seed"
    )
    parser.add_argument("--remove", metavar="ID", help="take one rule out of force")


def run(args: argparse.Namespace, session: Session) -> int:
    """Do what the verb says; the status of ``run`` is the program's own.

    Raises:
        UsageError: ``sandbox-name``, ``sandbox-extra``, ``sandbox-refused``, ``sandbox-scenario``.
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
    folder = life.folder_of(session.env, args.name, state_dir=state_dir(session.env))
    verbs = {
        "up": _up,
        "run": _run,
        "status": _status,
        "down": _down,
        "reset": _reset,
        "env": _env,
        "ssh-host": _ssh_host,
        "weather": _weather,
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
    """One sandbox when it was named or is the only one, else a line for each; 0 when one runs, 5 when none does."""
    from runctl.core.errors import UnreachableError  # noqa: PLC0415
    from runctl.project.places import state_dir  # noqa: PLC0415
    from runctl.sandbox import life  # noqa: PLC0415

    del args, folder
    found = []
    for name in life.names(session.env, state_dir=state_dir(session.env)):
        place = life.folder_of(session.env, name, state_dir=state_dir(session.env))
        try:
            found.append({"state": "up", **life.ask(life.find(place), "GET", "status")})
        except UnreachableError:
            found.append({"state": "gone", "name": name, "folder": str(place)})
    if session.options.json:
        session.out_json(found)
    for each in found if not session.options.json else ():
        if each["state"] == "gone":
            session.out(
                f"{each['name']}  ended without being taken down; runctl sandbox down --name {each['name']}"
            )
            continue
        machines = (
            ", ".join(f"{count} {state}" for state, count in sorted(each["instances"].items()))
            or "no instances"
        )
        session.out(
            f"{each['name']}  {each['endpoint']}  pid {each['pid']}  {machines}  weather: {len(each['weather']) or 'fair'}"
        )
        for words in each.get("weaker", ()):  # one that an older runctl started does not say
            session.out(f"  weaker: {words}")
    if not found:
        session.say("no sandbox is up")
    return 0 if any(each["state"] == "up" for each in found) else UnreachableError.exit_code


def _down(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.sandbox import life  # noqa: PLC0415

    there = life.down(folder, keep=args.keep)
    session.say(f"sandbox {folder.name} {'is gone' if there else 'was not there'}")
    return 0


def _reset(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.sandbox import life  # noqa: PLC0415

    del args
    life.ask(life.find(folder), "POST", "reset")
    session.say(f"sandbox {folder.name} is as new")
    return 0


def _env(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.sandbox import life  # noqa: PLC0415

    del args
    wanted = life.variables(folder, life.find(folder))
    if session.options.json:
        session.out_json(wanted)
        return 0
    session.out("unset " + " ".join(life.hidden()))
    for name, value in wanted.items():
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


def _weather(args: argparse.Namespace, session: Session, folder: Path) -> int:
    from runctl.sandbox import life  # noqa: PLC0415

    record = life.find(folder)
    rule = {
        name: value for name in (*TEXTS, *NUMBERS, "direction") if (value := getattr(args, name)) is not None
    }
    if args.scenario is not None:
        answer = life.ask(record, "POST", "weather", _scenario(args.scenario, session))
    elif args.remove is not None:
        answer = life.ask(record, "DELETE", f"weather/{args.remove}")
    elif args.kind is not None:
        answer = life.ask(record, "POST", "weather", {"kind": args.kind, **rule})
    else:
        answer = life.ask(record, "GET", "weather")
    if session.options.json:
        session.out_json(answer)
        return 0
    for each in answer.get("weather", ()):
        session.out("  ".join(f"{name}={value}" for name, value in each.items()))
    if not answer.get("weather"):
        session.say("no rule is in force" if args.kind is None else "done")
    return 0


def _scenario(path: str, session: Session) -> dict[str, Any]:
    from runctl.core.catalogue import known  # noqa: PLC0415
    from runctl.sandbox.weather import BadRule, read_scenario  # noqa: PLC0415

    try:
        return read_scenario(session.cwd / os.path.expanduser(path))
    except (BadRule, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise known("sandbox-scenario", path=path, reason=reason) from error

"""``runctl sandbox weather``: let go wrong, in a sandbox, what goes wrong in real clouds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from runctl.cli.session import Session

EPILOG = """\
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
    """Describe the arguments."""
    parser.epilog = EPILOG
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


def run(args: argparse.Namespace, session: Session, folder: Path) -> int:
    """Put rules in force, take them out, or list them.

    Raises:
        UsageError: ``sandbox-refused``, ``sandbox-scenario``.
        UnreachableError: ``sandbox-down``.
    """
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
    elif args.remove is not None:
        session.say(f"{args.remove} is out of force")
    elif "seed" in answer:
        _list_weather(answer["weather"], session)
    else:
        _tell_weather(answer["weather"], args, session)
    return 0


def _list_weather(found: list[dict[str, Any]], session: Session) -> None:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - only for the table
    from runctl.views.sandbox import rules  # noqa: PLC0415

    if found:
        session.out(rules(found, width=out_width(), style=out_style(session)))
    else:
        session.say("fair weather: no rule is in force")


def _tell_weather(made: list[dict[str, Any]], args: argparse.Namespace, session: Session) -> None:
    """What was put in force, or happened; the ids of rules go to stdout."""
    from runctl.views.sandbox import happened  # noqa: PLC0415 - only for these answers

    for each in made:
        if "id" in each:
            session.out(f"{each['id']}  {each['kind']}")
        else:
            session.say(happened(each, at=args.at or 0.0))


def _scenario(path: str, session: Session) -> dict[str, Any]:
    from runctl.core.catalogue import known  # noqa: PLC0415
    from runctl.sandbox.weather import BadRule, read_scenario  # noqa: PLC0415

    try:
        return read_scenario(session.cwd / os.path.expanduser(path))
    except (BadRule, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise known("sandbox-scenario", path=path, reason=reason) from error

"""``runctl aws create``: buy an instance that stays until it is ended, or until its hours have passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.cli.aws.arguments import TARGET, done
from runctl.cli.train import add_settings, fallback, settings_given

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session
    from runctl.core.model import Offer

KEYS = ("gpu", "cpus", "memory", "disk", "instance_type", "spot", "no_fallback", "aws.region")
EPILOG = """\
The instance is reached through Systems Manager: no open port, no key. It shuts itself down after --hours, whatever
happens to this computer. Its id is all that stands on stdout with --quiet.

examples:
  runctl aws create --gpu A10G --hours 8
  runctl train --on aws --machine $(runctl aws create --instance-type t3.large --yes --quiet) train.py
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options: what the machine has to have, and for how long."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--hours", type=hours, default=8.0, metavar="N", help="it ends itself after so long; 8 unless given"
    )
    parser.add_argument("--name", default="", help="what it is called in listings")
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="show what would be bought, and buy nothing"
    )
    add_settings(parser, KEYS)


def hours(value: str) -> float:
    """A positive number of hours, for argparse."""
    from argparse import ArgumentTypeError  # noqa: PLC0415 - loaded already when this runs

    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{value!r} is no number of hours")
    return number


def run(args: argparse.Namespace, session: Session) -> int:
    """Buy it; 0 once it runs. Raises what keeps it from being bought."""
    from runctl.api import machines  # noqa: PLC0415 - `--help` does without the engine
    from runctl.api.wanted import resources  # noqa: PLC0415
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    session.use_project(session.cwd, flags=settings_given(args, KEYS))
    rt = session.runtime
    with install_signals(session.cancel, say=session.say):
        need = resources(session.config)
        offers = tuple(rt.provider(TARGET, read_only=args.dry_run).offers(need, rt.cancel))
        _show(offers, args.hours, session)
        if args.dry_run:
            if session.options.json:
                from runctl.engine.plan_json import offer_json  # noqa: PLC0415

                session.out_json([offer_json(offer) for offer in offers])
            return 0
        price = f"{offers[0].price_per_hour} {offers[0].currency}"
        if not session.confirm(f"Buy it for {price} an hour?"):
            return 0
        found = machines.create(
            rt, TARGET, need, offers, hours=args.hours, name=args.name, allow=fallback(session)
        )
    return done(found, session, f"running; end it with: runctl aws terminate {found.id}")


def _show(offers: tuple[Offer, ...], hours: float, session: Session) -> None:
    from runctl.engine.lease import offer_words  # noqa: PLC0415

    first: Any = offers[0]
    session.say(
        f"{offer_words(first)}, {first.price_per_hour * int(hours + 0.999)} {first.currency} at most\n"
        f"it ends itself after {hours:g} h; {len(offers) - 1} further offers are tried if it is not to be had"
    )

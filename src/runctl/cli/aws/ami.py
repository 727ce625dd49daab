"""``runctl aws ami bake | list | use | prune | share``: images that have an environment in them already."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.cli.aws.create import hours
from runctl.cli.train import add_settings, settings_given
from runctl.core.catalogue import known
from runctl.core.quantities import count

if TYPE_CHECKING:
    import argparse

    from runctl.api.baking import Recipe
    from runctl.cli.session import Session
    from runctl.providers.aws.baked import BakedImage

KEYS = ("gpu", "cpus", "memory", "disk", "instance_type", "aws.region", "aws.image")
EPILOG = """\
An image saves the time of installing: a run whose dependencies are those of an image in its region boots from it by
itself. Baking buys a machine (without a GPU: installing needs none), installs, tries, copies its disk, and gives the
machine back; the image's snapshot is billed by the gigabyte and month until `prune`.

examples:
  runctl aws ami bake train.py --gpu A10G
  runctl aws ami bake --preset pytorch-cuda
  runctl aws ami list
  runctl aws ami use pytorch-cuda
  runctl aws ami prune --keep 1
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl aws ami``."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="bake | list | use | prune | share")
    bake = _action(actions, "bake", "make an image of what a script needs")
    bake.add_argument("script", metavar="SCRIPT", nargs="?", help="the script, as for train")
    bake.add_argument(
        "--preset", metavar="NAME", help="pytorch-cuda, jax-cuda or cpu-sklearn, in place of a script"
    )
    bake.add_argument(
        "--name", default="", help="what it is called; the project's or the preset's name unless given"
    )
    most = "the machine ends itself after so long; 2 unless given"
    bake.add_argument("--hours", type=hours, default=2.0, metavar="N", help=most)
    bake.add_argument("--again", action="store_true", help="also when there is one with the same environment")
    bake.add_argument("-n", "--dry-run", action="store_true", help="show what would be done, and do nothing")
    add_settings(bake, KEYS)
    _action(actions, "list", "list the images that runctl made, newest first")
    use = _action(actions, "use", "boot an image in every run of the project")
    use.add_argument("image", metavar="IMAGE", help="its id or name; `auto`: whatever fits, as without this")
    prune = _action(actions, "prune", "delete images and their snapshots")
    prune.add_argument("image", metavar="IMAGE", nargs="*", help="ids or names")
    prune.add_argument("--older-than", metavar="AGE", help="made before so long, as 30d")
    prune.add_argument("--keep", type=int, metavar="N", help="all but the newest N of each name")
    prune.add_argument("-n", "--dry-run", action="store_true", help="show what would go, delete nothing")
    share = _action(actions, "share", "let other AWS accounts use an image")
    share.add_argument("image", metavar="IMAGE", help="its id or name")
    share.add_argument("accounts", metavar="ACCOUNT", nargs="+", help="account numbers of 12 digits")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    return actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")


def run(args: argparse.Namespace, session: Session) -> int:
    """Do one of them; 0 when it is done.

    Raises:
        UsageError: ``image-unknown``, ``image-not-shareable``, ``preset-unknown``, ``env-nothing``, ``usage``.
        RunctlError: ``image-failed``; why it cannot be installed; what AWS says.
    """
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - `--help` does without the engine

    actions = {"bake": _bake, "list": _list, "use": _use, "prune": _prune, "share": _share}
    with install_signals(session.cancel, say=session.say):
        return actions[args.action](args, session)


def _bake(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import baking  # noqa: PLC0415 - as above

    if bool(args.script) == bool(args.preset):
        raise known(
            "usage", why="bake takes either a SCRIPT or --preset NAME", fix=["  runctl aws ami bake --help"]
        )
    cwd, given = session.cwd, settings_given(args, KEYS)
    start = (cwd / Path(args.script).expanduser()).parent if args.script else cwd
    session.use_project(start, flags=given)
    gpu = bool(args.preset) and args.preset in baking.PRESETS and baking.PRESETS[args.preset].gpu
    with (
        baking.preset_project(args.preset) if args.preset else nullcontext(Path(args.script or "")) as script
    ):
        recipe = baking.plan_bake(
            session.runtime,
            str(script),
            name=args.name or args.preset or "",
            gpu=gpu,
            cwd=cwd,
            dry=args.dry_run,
        )
        _say_recipe(recipe, args.hours, session)
        if recipe.there is not None and not args.again:
            return _told(recipe.there, session, "it is there already; --again bakes it anew")
        if args.dry_run:
            if session.options.json:
                session.out_json(recipe.to_json())
            return 0
        price = f"{recipe.offers[0].price_per_hour} {recipe.offers[0].currency}"
        if not session.confirm(f"Bake it, for {price} an hour?"):
            return 0
        made = baking.bake(session.runtime, recipe, hours=args.hours)
    return _told(made, session, f"runs that need the same boot from it in {made.region}")


def _say_recipe(recipe: Recipe, most: float, session: Session) -> None:
    from runctl.engine.lease import offer_words  # noqa: PLC0415

    session.say(f"image {recipe.name}: what {recipe.script} needs, on {recipe.base}")
    session.say(f"baked on {offer_words(recipe.offers[0])}, which ends itself after {most:g} h")


def _told(image: BakedImage, session: Session, words: str) -> int:
    if session.options.json:
        session.out_json(image.to_json())
    elif session.options.quiet:
        session.out(image.id)
    else:
        session.out(f"{image.id}  {image.name}: {count(image.packages, 'packages')}, {image.gb} GB; {words}")
    return 0


def _list(args: argparse.Namespace, session: Session) -> int:
    del args
    from runctl.api import baking  # noqa: PLC0415 - as above

    found = baking.baked_images(session.runtime)
    if session.options.json:
        session.out_json([each.to_json() for each in found])
    elif session.options.quiet:
        for each in found:
            session.out(each.id)
    elif not found:
        session.say("no image yet: runctl aws ami bake SCRIPT")
    else:
        session.out(_table(found, session))
        session.say(f"{sum(each.gb for each in found)} GB of disks in all, whose snapshots are billed")
    return 0


def _table(found: list[BakedImage], session: Session) -> str:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - only for people
    from runctl.views.table import Column, table  # noqa: PLC0415

    columns = (
        Column("IMAGE"),
        Column("STATE", state=True),
        Column("NAME", flexible=True),
        Column("REGION", spare=True),
        Column("ENV"),
        Column("PACKAGES", right=True),
        Column("GB", right=True),
        Column("MADE"),
    )
    rows = [
        (
            each.id,
            each.state,
            each.name,
            each.region,
            each.key[:12],
            str(each.packages),
            str(each.gb),
            each.created_at[:16].replace("T", " "),
        )
        for each in found
    ]
    return table(columns, rows, width=out_width(), style=out_style(session))


def _use(args: argparse.Namespace, session: Session) -> int:
    import argparse as plain  # noqa: PLC0415 - loaded already

    from runctl.api import baking  # noqa: PLC0415 - as above
    from runctl.cli import config  # noqa: PLC0415

    if args.image == "auto":
        asked = plain.Namespace(action="unset", key="aws.image", user=False, project=False)
    else:
        found = baking.baked_image(session.runtime, args.image)
        value = found.name if args.image == found.name else found.id
        asked = plain.Namespace(action="set", key="aws.image", value=value, user=False, project=False)
    return config.run(asked, session)


def _prune(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import baking  # noqa: PLC0415 - as above
    from runctl.cli.env import age  # noqa: PLC0415

    if not args.image and args.older_than is None and args.keep is None:
        raise known(
            "usage", why="prune takes images, --older-than AGE or --keep N", fix=["  runctl aws ami list"]
        )
    found = baking.prunable(session.runtime, args.image, older_than=age(args.older_than), keep=args.keep)
    for each in found:
        session.say(f"- {each.id}  {each.name}, {each.gb} GB, {each.state}, made {each.created_at[:10]}")
    if not found:
        session.say("no image to remove")
    elif not args.dry_run and session.confirm(f"Delete {count(len(found), 'images')} and their snapshots?"):
        for each in found:
            baking.remove_image(session.runtime, each)
    if session.options.json:
        session.out_json({"images": [each.to_json() for each in found], "dry_run": args.dry_run})
    return 0


def _share(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import baking  # noqa: PLC0415 - as above

    image = baking.baked_image(session.runtime, args.image)
    wrong = [each for each in args.accounts if not (each.isdigit() and len(each) == 12)]
    if wrong:
        raise known(
            "usage",
            why=f"{wrong[0]} is no account number: they have 12 digits",
            fix=["  aws sts get-caller-identity"],
        )
    baking.share_image(session.runtime, image, args.accounts)
    return _told(image, session, f"shared with {', '.join(args.accounts)}")

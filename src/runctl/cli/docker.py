"""``runctl docker build | push | train``: images of a project, made here, sent to a registry, trained in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runctl.cli import train
from runctl.core.catalogue import known
from runctl.project.settings import SETTINGS

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
The engine is docker, with buildx where it has it, else podman: the first that answers.

examples:
  runctl docker build
  runctl docker build train.py --print
  runctl docker push --to ecr
  runctl docker push lab/train:3 --to ghcr.io
  runctl docker build --base nvcr.io/nvidia/pytorch:24.10-py3 --tag lab/train:3
  runctl docker train train.py --on aws --gpu A10G -- --epochs 30
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl docker``."""
    parser.epilog = EPILOG
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="build | push | train")
    text = "build an image from the project's Dockerfile, or from its dependencies"
    verb = verbs.add_parser("build", help=text, description=text[0].upper() + text[1:] + ".")
    verb.add_argument(
        "script", metavar="SCRIPT", nargs="?", default="", help="whose dependencies count, where one is made"
    )
    verb.add_argument(
        "--print", action="store_true", help="show the Dockerfile that would be built, and build nothing"
    )
    _add_build(verb)
    text = "send an image to a registry"
    verb = verbs.add_parser("push", help=text, description=text[0].upper() + text[1:] + ".")
    verb.add_argument(
        "image",
        metavar="IMAGE",
        nargs="?",
        default="",
        help="an image that is here; unless given, the project's",
    )
    _add_push(verb)
    text = "build, push where the machine is another one, and train in exactly that image"
    verb = verbs.add_parser("train", help=text, description=text[0].upper() + text[1:] + ".")
    train.add_what_to_run(verb, SETTINGS.keys() - {"image"})
    train.add_how(verb)
    _add_build(verb)
    _add_push(verb)
    verb.set_defaults(image=None)


def _add_push(verb: argparse.ArgumentParser) -> None:
    where = "a registry, a repository, or ecr: that of your AWS account; unless given, the one IMAGE names"
    verb.add_argument("--to", metavar="REPOSITORY", default="", help=where)


def _add_build(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--tag", metavar="NAME", default="", help="the image's name; unless given, the project's"
    )
    verb.add_argument(
        "--file", metavar="FILE", default="", help="the Dockerfile; unless given, that of the project's root"
    )
    verb.add_argument("--base", metavar="IMAGE", default="", help="make a Dockerfile that begins with IMAGE")
    verb.add_argument("--platform", default="", help="of the machine it is for, as linux/amd64")


def run(args: argparse.Namespace, session: Session) -> int:
    """Do what the verb says; 0 unless something is wrong.

    Raises:
        UsageError: ``dockerfile-…``; what is wrong with the script or the project.
        InstallError: ``container-tool-missing``, ``image-not-built``, ``image-not-pushed``.
        RunctlError: what else ``api.push_image`` raises.
    """
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - only what waits needs them

    cwd = session.cwd
    if args.verb == "train":
        return _train(args, session, cwd)
    if args.script_args:
        raise known("usage", why=f"`runctl docker {args.verb}` takes no arguments after --")
    if args.verb == "build" and args.script:
        session.use_project((cwd / Path(args.script).expanduser()).parent)
    with install_signals(session.cancel, say=session.say):
        return _build(args, session, cwd) if args.verb == "build" else _push(args, session, cwd)


def _build(args: argparse.Namespace, session: Session, cwd: Path) -> int:
    from runctl import api  # noqa: PLC0415 - `docker --help` does without the engine

    rt = session.runtime
    wanted = {"script": args.script, "cwd": cwd, "file": args.file, "base": args.base}
    if args.print:
        _, source = api.containerfile_of(rt, **wanted)
        if session.options.json:
            session.out_json({"file": source.path, "why": source.why, "text": source.text})
        else:
            session.out(source.text.rstrip("\n"))
        return 0
    done = api.build_image(rt, **wanted, tag=args.tag, platform=args.platform)
    if session.options.json:
        session.out_json(done.to_json())
    else:
        session.out(done.image)
    return 0


def _push(args: argparse.Namespace, session: Session, cwd: Path) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    done = api.push_image(session.runtime, args.image, cwd=cwd, to=args.to)
    if session.options.json:
        session.out_json(done.to_json())
    else:
        session.out(done.image)
    return 0


def _train(args: argparse.Namespace, session: Session, cwd: Path) -> int:
    from runctl import api  # noqa: PLC0415 - as above
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - as above

    session.use_project((cwd / Path(args.script).expanduser()).parent, flags=train.settings_given(args))
    if args.dry_run:
        session.write_nothing()
    with install_signals(session.cancel, say=session.say):
        args.image = api.image_for_run(
            session.runtime,
            script=args.script,
            cwd=cwd,
            tag=args.tag,
            file=args.file,
            base=args.base,
            platform=args.platform,
            to=args.to,
            dry=args.dry_run,
        )
    return train.run(args, session, cwd=cwd)

"""``runctl docker build``: container images of a project, made on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
The engine is docker, with buildx where it has it, else podman: the first that answers.

examples:
  runctl docker build
  runctl docker build train.py --print
  runctl docker build --base nvcr.io/nvidia/pytorch:24.10-py3 --tag lab/train:3
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl docker``."""
    parser.epilog = EPILOG
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="build")
    text = "build an image from the project's Dockerfile, or from its dependencies"
    verb = verbs.add_parser("build", help=text, description=text[0].upper() + text[1:] + ".")
    verb.add_argument(
        "script", metavar="SCRIPT", nargs="?", default="", help="whose dependencies count, where one is made"
    )
    verb.add_argument(
        "--print", action="store_true", help="show the Dockerfile that would be built, and build nothing"
    )
    _add_build(verb)


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
        InstallError: ``container-tool-missing``, ``image-not-built``.
    """
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - only what waits needs them

    cwd = session.cwd
    if args.script:
        session.use_project((cwd / Path(args.script).expanduser()).parent)
    with install_signals(session.cancel, say=session.say):
        return _build(args, session, cwd)


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

"""``runctl checkpoint list | info | verify | pull``: the checkpoints of a run, or of a folder or file here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.api.checkpoint_choice import choose_checkpoint, nothing_found, reason, reasons
from runctl.core.catalogue import known
from runctl.views.text import count, safe, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from runctl.cli.session import Session

EPILOG = """\
RUN is a run's name or id; PATH is a folder or a file on this machine. Complete checkpoints only, newest first: by
the step and epoch they state themselves, then by those in their names, then by time. None is ever unpickled.

examples:
  runctl checkpoint list brave-otter-7k2m
  runctl checkpoint info brave-otter-7k2m:checkpoint_epoch_20.npz
  runctl checkpoint verify checkpoints/
  runctl checkpoint pull brave-otter-7k2m --to models/
"""
SHOWN_TENSORS = 12  # the largest; --json has more


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl checkpoint``."""
    parser.epilog = EPILOG
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list | info | verify | pull")
    for name, target, text in (
        ("list", "RUN|PATH", "list complete checkpoints, newest first"),
        ("info", "RUN[:NAME]|PATH", "describe one checkpoint, the newest unless NAME tells which"),
        ("verify", "RUN|PATH", "read every byte and compare checksums; status 1 when one is damaged"),
    ):
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        verb.add_argument("target", metavar=target, help="a run, or a path on this machine")
    text = "copy one checkpoint of a run here, the newest unless NAME tells which"
    pull = verbs.add_parser("pull", help=text, description=text[0].upper() + text[1:] + ".")
    pull.add_argument("target", metavar="RUN[:NAME]", help="a run")
    pull.add_argument("--to", metavar="FOLDER", default=".", help="where it goes; this folder by default")


def run(args: argparse.Namespace, session: Session) -> int:
    """Answer one of the verbs; 0 unless something is wrong.

    Raises:
        UsageError: ``checkpoint-path-missing``, ``checkpoint-unknown``, ``checkpoint-not-found``, or no such run.
        ScriptFailed: ``checkpoint-damaged`` (status 1), by ``verify``.
    """
    if args.verb == "pull":
        return _pull(args.target, session.cwd / Path(args.to).expanduser(), session)
    verbs = {"list": _list, "info": _info, "verify": _verify}
    return verbs[args.verb](args.target, session)


def _list(target: str, session: Session) -> int:
    answer = _find(target, session)
    if session.options.json:
        session.out_json(answer)
        return 0
    if answer["checkpoints"]:
        for line in table(answer["checkpoints"]):
            session.out(line)
    else:
        session.say(f"no complete checkpoint in {answer.get('run', target)}")
    for each in answer["incomplete"]:
        session.say(f"not complete: {safe(reason(each))}")
    return 0


def _info(target: str, session: Session) -> int:
    where, name = _split(target)
    answer = _find(where, session)
    chosen = choose_checkpoint(where, name, answer)
    if "detail" not in chosen:  # a store keeps the bytes; what is in them is looked at here
        chosen |= _looked_into(where, chosen, session)
    if session.options.json:
        session.out_json({"directory": answer["directory"], **chosen})
        return 0
    for line in page(chosen.get("place", answer["directory"]), chosen):
        session.out(line)
    return 0


def _looked_into(where: str, chosen: dict[str, Any], session: Session) -> dict[str, Any]:
    """What is in a checkpoint of a store: fetched to a folder that goes again."""
    import tempfile  # noqa: PLC0415 - only for this

    from runctl import api  # noqa: PLC0415 - as in _find
    from runctl.formats.folder import find  # noqa: PLC0415 - as in _find

    with tempfile.TemporaryDirectory() as folder:
        run = api.get_run(session.runtime, where)
        there = api.pull_checkpoint(session.runtime, run, chosen, Path(folder))
        (found, *_) = find(str(there))["checkpoints"]
    return {"detail": found["detail"], "tensors": found["tensors"]}


def _pull(target: str, folder: Path, session: Session) -> int:
    """Fetch it and print where it is now."""
    from runctl import api  # noqa: PLC0415 - as in _find
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - only what waits needs them

    where, _, name = target.partition(":")
    with install_signals(session.cancel, say=session.say):
        run = api.get_run(session.runtime, where)
        answer = api.checkpoints(session.runtime, run)
        chosen = {"directory": answer["directory"], **choose_checkpoint(where, name, answer)}
        there = api.pull_checkpoint(session.runtime, run, chosen, folder)
    if session.options.json:
        session.out_json({"path": str(there), "checkpoint": chosen})
    else:
        session.out(str(there))
    return 0


def _verify(target: str, session: Session) -> int:
    answer = _find(target, session, verify=True)
    good, bad = answer["checkpoints"], answer["incomplete"]
    damaged = [each for each in bad if each["kind"] == "damaged"]
    if session.options.json:
        session.out_json(answer)
    else:
        for each in good:
            several = any(one.get("attempt", 1) > 1 for one in good)
            session.out(
                f"whole    {safe(each['path'])}" + (f"  (attempt {each['attempt']})" if several else "")
            )
        for each in bad:
            session.out(f"{'DAMAGED' if each['kind'] == 'damaged' else 'unsure':8} {safe(reason(each))}")
    if damaged:
        raise known(
            "checkpoint-damaged",
            where=target,
            damaged=len(damaged),
            total=len(good) + len(bad),
            reasons=reasons(damaged),
        )
    if not good:
        raise nothing_found(answer.get("run", target), answer)
    return 0


def _find(target: str, session: Session, *, verify: bool = False) -> dict[str, Any]:
    """What the formats find at a path here, or what the agent of the run's machine answers."""
    path = Path(target).expanduser()
    if path.exists():
        from runctl.formats.folder import find  # noqa: PLC0415 - not needed for a run: its agent has its own

        return find(str(path), verify=verify)
    if "/" in target or target.startswith((".", "~")):
        raise known("checkpoint-path-missing", path=target)
    from runctl import api  # noqa: PLC0415 - the engine is not needed for a path
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - as above

    found = api.get_run(session.runtime, target)
    with install_signals(session.cancel, say=session.say):
        answer = api.checkpoints(session.runtime, found, verify=verify)
    return {**answer, "run": found.name}


def _split(target: str) -> tuple[str, str]:
    """``RUN:NAME`` as its two parts; a path that exists is never split."""
    if Path(target).expanduser().exists():
        return target, ""
    where, _, name = target.partition(":")
    return where, name


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def table(checkpoints: list[dict[str, Any]]) -> list[str]:
    """The lines of ``list``: a head, then one per checkpoint, columns aligned, the path last.

    The attempt is told where there was more than one, as each may have written a file of the same name; the number of
    tensors where any is known.
    """
    several = any(each.get("attempt", 1) > 1 for each in checkpoints)
    counted = any(each["tensors"] is not None for each in checkpoints)
    columns: list[tuple[str, bool, Callable[[dict[str, Any]], str]]] = [
        *([("ATTEMPT", True, lambda each: str(each["attempt"]))] if several else []),
        ("STEP", True, lambda each: _number(each["step"])),
        ("EPOCH", True, lambda each: _number(each["epoch"])),
        ("SIZE", True, lambda each: size(each["size"])),
        *([("TENSORS", True, lambda each: _number(each["tensors"]))] if counted else []),
        ("FORMAT", False, lambda each: each["format"]),
        ("MODIFIED", False, lambda each: _when(each["modified"])),
        ("PATH", False, lambda each: safe(each["path"])),
    ]
    rows = [
        [title for title, _, _ in columns],
        *([cell(each) for _, _, cell in columns] for each in checkpoints),
    ]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, (_, right, _) in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in rows
    ]


def _when(seconds: float) -> str:
    import time  # noqa: PLC0415 - not for --json

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def page(directory: str, checkpoint: dict[str, Any]) -> list[str]:
    """The lines of ``info``."""
    detail = checkpoint["detail"]
    lines = [
        f"path      {safe(directory)}/{safe(checkpoint['path'])}".removesuffix("/."),
        f"format    {checkpoint['format']}",
        f"size      {size(checkpoint['size'])} in {count(detail['files'], 'files')}",
        f"modified  {_when(checkpoint['modified'])}",
        f"step      {_number(checkpoint['step'])}",
        f"epoch     {_number(checkpoint['epoch'])}",
    ]
    if checkpoint["tensors"] is None:
        lines.append("tensors   the file does not tell")
    else:
        kinds = ", ".join(f"{number} {safe(str(dtype))}" for dtype, number in detail["dtypes"].items())
        lines.append(
            f"tensors   {checkpoint['tensors']} ({kinds}), {count(detail['elements'], 'numbers')} in all"
        )
        lines += [
            f"          {safe(str(name)) or '-'}  {safe(str(dtype))}  {' x '.join(map(str, shape)) or 'one number'}"
            for name, dtype, shape in detail["largest"][:SHOWN_TENSORS]
        ]
        left = checkpoint["tensors"] - SHOWN_TENSORS
        lines += [f"          and {left} smaller"] if left > 0 else []
    lines += [f"metadata  {safe(str(key))} = {safe(str(value))}" for key, value in detail["metadata"].items()]
    return lines

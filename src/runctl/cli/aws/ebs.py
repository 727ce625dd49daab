"""``runctl aws ebs``: volumes that outlive machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from runctl.cli.session import Session
    from runctl.providers.aws.volumes import Snapshot, Volume

EPILOG = """\
VOLUME is an id or a name. A volume is in one zone, and is mounted by machines of that zone, one at a time; it is billed
until it is deleted, whether a machine has it or not, and so are snapshots.

examples:
  runctl aws ebs create --size 200 --name data --for i-0abc
  runctl aws ebs mount data i-0abc /mnt/data
  runctl transfer s3://bucket/set i-0abc:/mnt/data/set
  runctl aws ebs detach data
  runctl aws ebs snapshot data
  runctl aws ebs restore data --zone us-east-1c
"""
KINDS = ("gp3", "gp2", "io2", "st1", "sc1")
MACHINE = "an instance's id"
VOLUME = "a volume's id or name"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl aws ebs``."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")

    create = action("create", "make an empty volume")
    create.add_argument("--size", type=int, required=True, metavar="GB", help="its size")
    restore = action("restore", "make a volume of a snapshot, in any zone of its region")
    restore.add_argument(
        "snapshot", metavar="SNAPSHOT", help="a snapshot's id, or a name: the newest one of it"
    )
    restore.add_argument("--size", type=int, metavar="GB", help="the snapshot's unless given")
    for each in (create, restore):
        _add_place(each)
    action("list", "list volumes and snapshots")
    attach = action("attach", "attach a volume to an instance, unmounted")
    mount = action("mount", "attach a volume and mount it; a blank one gets a file system")
    detach = action("detach", "unmount a volume and detach it")
    prewarm = action("prewarm", "read all of an attached volume once, so that a restored one is fast")
    snapshot = action("snapshot", "copy a volume into a snapshot")
    delete = action("delete", "delete a volume or a snapshot for good")
    for each in (attach, mount, detach, prewarm, snapshot):
        each.add_argument("volume", metavar="VOLUME", help=VOLUME)
    for each in (attach, mount):
        each.add_argument("machine", metavar="MACHINE", help=MACHINE)
    mount.add_argument("path", metavar="PATH", help="where, absolute")
    detach.add_argument("--force", action="store_true", help="also when it cannot be unmounted")
    delete.add_argument("volume", metavar="VOLUME", help=f"{VOLUME}, or a snapshot's id")
    delete.add_argument("--force", action="store_true", help="unmount and detach it first")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="what it is called")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--zone", default="", help="where, as us-east-1c; the home region's first unless given"
    )
    where.add_argument("--for", dest="machine", default="", metavar="MACHINE", help="where that instance is")
    parser.add_argument("--type", choices=KINDS, default="gp3", help="gp3 unless given")
    parser.add_argument("--iops", type=int, metavar="N", help="gp3: by the size unless given")
    parser.add_argument(
        "--throughput", type=int, metavar="MBS", help="MiB/s of gp3: by the size unless given"
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Do one of them; 0 when it is done.

    Raises:
        UsageError: ``volume-unknown``, ``volume-ambiguous``, ``volume-attached``, ``volume-elsewhere``, ``volume-free``.
        RunctlError: ``volume-state``, ``volume-mount``; what AWS says.
    """
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - `--help` does without the engine

    actions: dict[str, Callable[[argparse.Namespace, Session], int]] = {
        "create": _create,
        "restore": _restore,
        "list": _list,
        "attach": _attach,
        "mount": _mount,
        "detach": _detach,
        "prewarm": _prewarm,
        "snapshot": _snapshot,
        "delete": _delete,
    }
    with install_signals(session.cancel, say=session.say):
        return actions[args.action](args, session)


def _create(args: argparse.Namespace, session: Session) -> int:
    return _made(args, session, size=args.size, snapshot="", name=args.name)


def _restore(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import volumes  # noqa: PLC0415 - as above

    ours = volumes.volumes_of(session.runtime, read_only=True)
    found = ours.snapshot_named(args.snapshot, session.runtime.cancel)
    return _made(args, session, size=args.size or found.gb, snapshot=found.id, name=args.name or found.name)


def _made(args: argparse.Namespace, session: Session, *, size: int, snapshot: str, name: str) -> int:
    from runctl.api import volumes  # noqa: PLC0415 - as above
    from runctl.providers.aws.volumes import Wanted, speed  # noqa: PLC0415

    zone = volumes.zone_for(session.runtime, zone=args.zone, machine_id=args.machine)
    wanted = Wanted(zone, size, name, args.type, args.iops, args.throughput, snapshot)
    iops, mbs = speed(size)
    fast = f", {args.iops or iops} IOPS, {args.throughput or mbs} MiB/s" if args.type == "gp3" else ""
    session.say(f"{size} GB of {args.type} in {zone}{fast}; billed until it is deleted")
    if not session.confirm("Make it?"):
        return 0
    return _told(volumes.create(session.runtime, wanted), session, "made")


def _list(args: argparse.Namespace, session: Session) -> int:
    del args
    from runctl.api import volumes  # noqa: PLC0415 - as above

    ours = volumes.volumes_of(session.runtime, read_only=True)
    found = ours.all(session.runtime.cancel)
    copies = ours.snapshots(session.runtime.cancel)
    if session.options.json:
        both = {"volumes": [v.to_json() for v in found], "snapshots": [s.to_json() for s in copies]}
        session.out_json(both)
    elif session.options.quiet:
        for one in [*(each.id for each in found), *(each.id for each in copies)]:
            session.out(one)
    elif not found and not copies:
        session.say("no volume yet: runctl aws ebs create --size GB")
    else:
        session.out(_table(found, copies, session))
    return 0


def _table(found: Sequence[Volume], copies: Sequence[Snapshot], session: Session) -> str:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - only for people
    from runctl.views.table import Column, table  # noqa: PLC0415

    columns = (
        Column("ID"),
        Column("STATE", state=True),
        Column("NAME", flexible=True),
        Column("GB", right=True),
        Column("TYPE"),
        Column("PLACE", spare=True),
        Column("ON"),
        Column("MADE", spare=True),
    )
    rows = [
        (v.id, v.state, v.name, str(v.gb), v.kind, v.zone, v.machine, _minute(v.created_at)) for v in found
    ]
    rows += [
        (s.id, s.state, s.name, str(s.gb), "snapshot", s.region, "", _minute(s.created_at)) for s in copies
    ]
    return table(columns, rows, width=out_width(), style=out_style(session))


def _minute(text: str) -> str:
    return text[:16].replace("T", " ")


def _attach(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import volumes  # noqa: PLC0415 - as above

    found = volumes.attach(session.runtime, args.volume, args.machine)
    return _told(found, session, f"attached to {found.machine} as {found.device}")


def _mount(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import volumes  # noqa: PLC0415 - as above
    from runctl.core.catalogue import known  # noqa: PLC0415

    if not args.path.startswith("/"):
        fix = [f"  runctl aws ebs mount {args.volume} {args.machine} /{args.path}"]
        raise known("usage", why=f"{args.path} is not absolute", fix=fix)
    found, how = volumes.mount(session.runtime, args.volume, args.machine, args.path)
    words = {"made": "a new file system, mounted", "mounted": "mounted", "there": "mounted already"}[how]
    return _told(found, session, f"{words} on {args.path} of {found.machine}", path=args.path, how=how)


def _detach(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import volumes  # noqa: PLC0415 - as above

    return _told(volumes.detach(session.runtime, args.volume, force=args.force), session, "on no machine")


def _prewarm(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import volumes  # noqa: PLC0415 - as above

    return _told(volumes.prewarm(session.runtime, args.volume), session, "read once")


def _snapshot(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import volumes  # noqa: PLC0415 - as above

    return _told(volumes.snapshot(session.runtime, args.volume), session, f"a copy of {args.volume}")


def _delete(args: argparse.Namespace, session: Session) -> int:
    from runctl.api import volumes  # noqa: PLC0415 - as above

    rt = session.runtime
    ours = volumes.volumes_of(rt, read_only=True)
    if args.volume.startswith("snap-"):
        copy = ours.snapshot_named(args.volume, rt.cancel)
        if _sure(copy, session):
            volumes.volumes_of(rt).delete_snapshot(copy, rt.cancel)
            return _told(copy, session, "deleted")
        return 0
    found = ours.named(args.volume, rt.cancel)
    if not _sure(found, session):
        return 0
    volumes.delete(rt, found, force=args.force)
    return _told(found, session, "deleted")


def _sure(found: Volume | Snapshot, session: Session) -> bool:
    session.say(f"{found.id}  {found.name}, {found.gb} GB, {found.state}")
    return session.confirm(f"Delete {found.id} and all that is on it?")


def _told(found: Volume | Snapshot, session: Session, words: str, **more: Any) -> int:
    if session.options.json:
        session.out_json(found.to_json() | more)
    elif session.options.quiet:
        session.out(found.id)
    else:
        session.out(f"{found.id}  {found.name}: {words}")
    return 0

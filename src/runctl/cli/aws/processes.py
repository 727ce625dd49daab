"""``runctl aws processes``: how busy an instance is, and what keeps it so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.cli.arguments import whole
from runctl.cli.aws.arguments import TARGET, add_machine

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

LONGEST = 200  # characters of a command, in a pipe; a terminal cuts at its width


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "Measured over half a second. GPUs are asked by nvidia-smi, where the instance has one."
    add_machine(parser)
    parser.add_argument(
        "-n", "--count", type=whole(1), default=15, metavar="N", help="the busiest N, 15 unless given"
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Print cores, memory, disk, GPUs and the busiest processes, 0."""
    from runctl.api import machines  # noqa: PLC0415 - `--help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    rt = session.runtime
    with install_signals(session.cancel, say=session.say):
        found = machines.machine(rt, TARGET, args.machine)
        busy = machines.load(rt, found, count=args.count)
    if session.options.json:
        session.out_json({"machine": found.id, **busy})
        return 0
    for line in figures(busy):
        session.out(line)
    session.out("")
    session.out(_table(busy, session))
    return 0


def figures(busy: dict[str, Any]) -> list[str]:
    """The lines above the table. Pure."""
    from runctl.views.text import safe, size  # noqa: PLC0415

    def used(total: int, free: int | None) -> str:
        return size(total) if free is None else f"{size(total - free)} of {size(total)}"

    lines = [
        f"cores   {busy['cpu_percent'] / busy['cpus']:.0f} % of {busy['cpus']}, load {busy['load'][0]:.2f}",
        f"memory  {used(busy['memory_bytes'], busy['memory_free_bytes'])}",
        f"disk    {used(busy['disk_bytes'], busy['disk_free_bytes'])}",
    ]
    for gpu in busy["gpus"]:
        use = "?" if gpu["percent"] is None else f"{gpu['percent']} %"
        room = "" if gpu["memory_bytes"] is None else f", {used(gpu['memory_bytes'], _left(gpu))}"
        heat = "" if gpu["celsius"] is None else f", {gpu['celsius']} °C"
        lines.append(f"gpu     {use} of {safe(gpu['name'])}{room}{heat}")
    return lines if busy["gpus"] else [*lines, "gpu     none"]


def _left(gpu: dict[str, Any]) -> int | None:
    return None if gpu["memory_used_bytes"] is None else gpu["memory_bytes"] - gpu["memory_used_bytes"]


def _table(busy: dict[str, Any], session: Session) -> str:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415
    from runctl.views.table import Column, table  # noqa: PLC0415
    from runctl.views.text import size  # noqa: PLC0415

    columns = (
        Column("PID", right=True),
        Column("CPU %", right=True),
        Column("MEMORY", right=True),
        Column("COMMAND", flexible=True),
    )
    rows = [
        (
            str(each["pid"]),
            f"{each['cpu_percent']:.1f}",
            size(each["memory_bytes"]),
            each["command"][:LONGEST],
        )
        for each in busy["processes"]
    ]
    return table(columns, rows, width=out_width(), style=out_style(session))

"""EBS volumes from here: made where they are wanted, mounted by their id on a machine, unmounted before they are detached."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from runctl.api.baking import provider_of
from runctl.core.catalogue import known
from runctl.engine.steps import step

if TYPE_CHECKING:
    from runctl.api.runtime import Runtime
    from runctl.core.model import Machine
    from runctl.providers.aws.volumes import Snapshot, Volume, Volumes, Wanted

# Finds the device of a volume: by its id where disks are NVMe, else by the name it was attached with (sd or xvd).
_FIND: Final = """
set -eu
id=$(printf %s "$1" | tr -d -); name=${2#/dev/sd}; tries=0; device=
while :; do
  for each in "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_$id" "/dev/xvd$name" "/dev/sd$name"; do
    [ -b "$each" ] && { device=$(readlink -f "$each"); break; }
  done
  [ -n "$device" ] && break
  tries=$((tries + 1)); [ $tries -gt 150 ] && { echo "no device of $1 showed up in 30 s" >&2; exit 71; }
  sleep 0.2
done
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
"""
_MOUNT: Final = (
    _FIND
    + """
at=$(findmnt -n -o TARGET --source "$device" | head -n 1 || true)
if [ -n "$at" ]; then
  [ "$at" = "$3" ] && { echo there; exit 0; }
  echo "it is mounted on $at already" >&2; exit 72
fi
made=mounted
if [ "$(root head -c 1048576 "$device" | tr -d '\\000' | wc -c)" -eq 0 ]; then
  known=0; root blkid -p "$device" >/dev/null || known=$?
  case $known in
    0) ;;
    2) root mkfs.ext4 -q "$device"; made=made ;;
    *) echo "blkid does not say what is on it: exit status $known" >&2; exit 74 ;;
  esac
fi
root mkdir -p "$3"
root mount -o noatime "$device" "$3"
[ $made = made ] && root chown "$(id -u):$(id -g)" "$3"
echo $made
"""
)
_UNMOUNT: Final = (
    _FIND
    + """
for at in $(findmnt -n -o TARGET --source "$device" || true); do root umount "$at" || exit 73; done
"""
)
# Reads every block once, in four places at a time, and says how far it is.
_PREWARM: Final = (
    _FIND
    + """
root python3 -c '
import os, sys, threading, time
path, parts, step = sys.argv[1], 4, 1 << 20
fd = os.open(path, os.O_RDONLY)
size = os.lseek(fd, 0, 2)
done = [0] * parts
def read(n):
    at, end = size * n // parts, size * (n + 1) // parts
    while at < end:
        got = len(os.pread(fd, min(step, end - at), at))
        if not got: break
        at += got; done[n] += got
threads = [threading.Thread(target=read, args=(n,)) for n in range(parts)]
for each in threads: each.start()
while any(each.is_alive() for each in threads):
    time.sleep(0.2)
    print(sum(done), size, flush=True)
print(sum(done), size, flush=True)
' "$device"
"""
)


def volumes_of(rt: Runtime, *, read_only: bool = False) -> Volumes:
    """The account's volumes that runctl made."""
    return provider_of(rt, read_only=read_only).volumes


def zone_for(rt: Runtime, *, zone: str, machine_id: str) -> str:
    """Where a volume is to be: as said, where a machine is, or the first open zone of the home region."""
    provider = provider_of(rt, read_only=True)
    if zone:
        return zone
    if machine_id:
        return provider.machine(machine_id, rt.cancel).offer.zone
    return provider.volumes.zones(provider.regions[0], rt.cancel)[0]


def create(rt: Runtime, wanted: Wanted) -> Volume:
    """Make a volume and see it available. A failure or a cancel leaves none."""
    with step("volume", f"make a volume of {wanted.gb} GB", emit=rt.emit, clock=rt.clock) as doing:
        made = volumes_of(rt).create(wanted, rt.cancel)
        doing.summary = f"{made.id} in {made.zone}"
    return made


def attach(rt: Runtime, word: str, machine_id: str) -> Volume:
    """Attach a volume to a machine in its zone. Raises ``volume-elsewhere``, ``volume-attached``."""
    volume, machine = _both(rt, word, machine_id)
    with step("attach", f"attach {volume.id} to {machine.id}", emit=rt.emit, clock=rt.clock) as doing:
        doing.skipped = volume.machine == machine.id
        return volumes_of(rt).attach(volume, machine.id, rt.cancel)


def mount(rt: Runtime, word: str, machine_id: str, path: str) -> tuple[Volume, str]:
    """Attach a volume and mount it at ``path``; it, and ``made``, ``mounted`` or ``there``. Safe to repeat.

    One that is blank gets a file system (ext4) and belongs to whom commands run as there.

    Raises:
        UsageError: ``volume-elsewhere``, ``volume-attached``.
        MachineError: ``volume-mount``: what the machine says.
    """
    volume = attach(rt, word, machine_id)
    with step("mount", f"mount it on {path}", emit=rt.emit, clock=rt.clock) as doing:
        doing.summary = _there(rt, volume, _MOUNT, path).strip()
    return volume, doing.summary


def detach(rt: Runtime, word: str, *, force: bool = False) -> Volume:
    """Unmount a volume where it is mounted, and detach it. ``force``: also where it cannot be unmounted.

    Raises ``volume-mount`` when something there uses it.
    """
    volume = volumes_of(rt).named(word, rt.cancel)
    if volume.machine and not force:
        with step("unmount", f"unmount {volume.id}", emit=rt.emit, clock=rt.clock):
            _there(rt, volume, _UNMOUNT)
    with step("detach", f"detach {volume.id}", emit=rt.emit, clock=rt.clock):
        return volumes_of(rt).detach(volume, rt.cancel)


def prewarm(rt: Runtime, word: str) -> Volume:
    """Read every block of an attached volume once: what was made of a snapshot is fetched at its first reading."""
    volume = volumes_of(rt, read_only=True).named(word, rt.cancel)
    if not volume.machine:
        raise known("volume-free", volume=volume.id)
    with step("prewarm", f"read all of {volume.id}", emit=rt.emit, clock=rt.clock) as doing:
        rest = b""

        def hear(chunk: bytes) -> None:
            nonlocal rest
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                done, total = map(int, line.split())
                doing.progress(done, total, unit="bytes", item=volume.id)

        _there(rt, volume, _PREWARM, on_output=hear)
        doing.summary = f"{volume.gb} GB"
    return volume


def delete(rt: Runtime, volume: Volume, *, force: bool = False) -> None:
    """Delete a volume for good; with ``force`` it is unmounted and detached first."""
    if volume.machine and force:
        volume = replace(detach(rt, volume.id), machine="")
    with step("delete", f"delete {volume.id}", emit=rt.emit, clock=rt.clock):
        volumes_of(rt).delete(volume, rt.cancel)


def snapshot(rt: Runtime, word: str) -> Snapshot:
    """Copy a volume's bytes into a snapshot. What programs there have not written yet is not in it."""
    volume = volumes_of(rt, read_only=True).named(word, rt.cancel)
    with step("snapshot", f"copy {volume.id} into a snapshot", emit=rt.emit, clock=rt.clock) as doing:
        made = volumes_of(rt).snapshot(volume, rt.cancel)
        doing.summary = made.id
    return made


def _both(rt: Runtime, word: str, machine_id: str) -> tuple[Volume, Machine]:
    """A volume and a machine, which have to be in one zone."""
    provider = provider_of(rt, read_only=True)
    volume = provider.volumes.named(word, rt.cancel)
    machine = provider.machine(machine_id, rt.cancel)
    if volume.zone != machine.offer.zone:
        raise known(
            "volume-elsewhere",
            volume=volume.id,
            zone=volume.zone,
            machine=machine.id,
            there=machine.offer.zone,
        )
    return volume, machine


def _there(rt: Runtime, volume: Volume, script: str, *args: str, on_output: object = None) -> str:
    """Run a script about a volume on the machine that has it; what it prints. Raises ``volume-mount``."""
    machine = provider_of(rt, read_only=True).machine(f"{volume.machine}@{volume.region}", rt.cancel)
    heard = bytearray()
    hear = on_output if callable(on_output) else heard.extend
    argv = ["sh", "-c", script, "sh", volume.id, volume.device, *args]
    done = rt.transport(machine.endpoint).exec(argv, on_output=hear, cancel=rt.cancel)
    if done.exit_code != 0:
        detail = done.stderr.decode(errors="replace").strip()[-500:] or f"exit status {done.exit_code}"
        raise known("volume-mount", volume=volume.id, machine=machine.id, detail=detail)
    return heard.decode(errors="replace")

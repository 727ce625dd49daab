"""The volume that keeps caches from machine to machine: waited for, mounted by its id, unmounted before the machine ends.

Whatever is wrong with it is said and costs the cache only: the run goes on with the machine's own disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import time

from runctl.agent.failure import AgentFailure
from runctl.agent.home import make_folder, read_json, write_json
from runctl.agent.lease import SYSTEM_PATH
from runctl.agent.prepare import Step
from runctl.s3.patience import Passing

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home, RunFolder
    from runctl.agent.journal import Journal
    from runctl.agent.store import Store

WORD_SECONDS = 120.0  # how long nobody may say which volume it is: whoever attaches it may be gone
DEVICE_SECONDS = 30.0  # from its being attached until the kernel shows it
COMMAND_SECONDS = 60.0  # for one of mount, mkfs, umount
FIRST_LOOK, SLOWEST_LOOK = 0.1, 1.0
LOOKED_AT = 1 << 20  # bytes at the beginning of a disk that have to be zero before it is formatted
NOTHING_THERE = 2  # exit status of blkid(8) for a disk on which it knows nothing


class Unusable(Exception):
    """Why the run goes on without the volume."""


class CacheVolume:
    """The one of this machine. Its place is fixed, so whoever keeps the run finds it again after having been killed."""

    def __init__(
        self,
        home: Home,
        run: RunFolder,
        journal: Journal,
        *,
        word_seconds: float = WORD_SECONDS,
        device_seconds: float = DEVICE_SECONDS,
    ) -> None:
        self._journal = journal
        self._word_seconds, self._device_seconds = word_seconds, device_seconds
        self.path = os.path.join(home.path, "cache")
        self._note = os.path.join(run.path, "cache.json")

    def mounted(self) -> str:
        """Its folder while it is mounted; else empty."""
        return self.path if os.path.ismount(self.path) else ""

    def bring(self, store: Store, key: str) -> str:
        """Wait for the word at ``key`` that says which volume, and mount it; its folder, empty to go on without.

        Safe to repeat.

        Raises:
            Stopped: the run is not wanted any more.
        """
        with Step(self._journal, "cache", "mount the cache volume") as step:
            try:
                step.summary = self._bring(store, key)
            except (Unusable, OSError, subprocess.TimeoutExpired) as error:
                step.summary, step.skipped = "without it", True
                self._say("warning", "the run goes on without its cache volume: %s" % error)
                return ""
        return self.path

    def _bring(self, store: Store, key: str) -> str:
        if os.path.ismount(self.path):
            return "mounted already"
        word = self._word(store, key)
        if not word.get("volume"):
            raise Unusable(str(word.get("why") or "there is none"))
        device = self._device(str(word["volume"]), str(word.get("device") or ""), store)
        made = _is_blank(device)
        if made:
            _run(["mkfs.ext4", "-q", device])
        make_folder(self.path)
        _run(["mount", "-o", "noatime,nosuid,nodev", device, self.path])
        used = _used(self.path)
        write_json(self._note, {"volume": word["volume"], "used": used})
        how = "made a file system on it" if made else "%.1f MB in it" % (used / 1e6)
        return "%s: %s" % (word["volume"], how)

    def _word(self, store: Store, key: str) -> dict[str, Any]:
        until, pause = time.monotonic() + self._word_seconds, FIRST_LOOK
        while time.monotonic() < until:
            try:
                found = json.loads(store.get(key))
                return found if isinstance(found, dict) else {}
            except ValueError as error:
                raise Unusable("%s cannot be read: %s" % (key, error)) from error
            except AgentFailure as error:
                if error.code != "store-missing" and not isinstance(error, Passing):
                    raise Unusable("%s: %s" % (key, error.code)) from error
            store.patience.rest(pause)
            pause = min(pause * 1.5, SLOWEST_LOOK)
        raise Unusable("nobody attached one within %d s" % self._word_seconds)

    def _device(self, volume: str, name: str, store: Store) -> str:
        """By its id where disks are NVMe, else by the name it was attached with (sd or xvd)."""
        names = ["/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + volume.replace("-", "")]
        if name.startswith("/dev/sd"):
            names += ["/dev/xvd" + name[7:], name]
        until = time.monotonic() + self._device_seconds
        while time.monotonic() < until:
            for each in names:
                if os.path.exists(each):
                    return os.path.realpath(each)
            store.patience.rest(FIRST_LOOK)
        raise Unusable("no disk of %s showed up within %d s" % (volume, self._device_seconds))

    def leave(self, *, last: bool) -> dict[str, int] | None:
        """Unmount it; bytes ``used`` in it and ``grown`` by this run, None where it is not mounted or still is.

        Safe to repeat. ``last``: nobody tries again; what cannot be unmounted is written out whole and left to the
        machine, which unmounts it as it ends.
        """
        if not os.path.ismount(self.path):
            return None
        used = _used(self.path)
        grown = used - int((read_json(self._note) or {}).get("used") or 0)
        try:
            _run(["umount", self.path])
        except (Unusable, OSError, subprocess.TimeoutExpired) as error:
            if last:
                os.sync()
                self._say("warning", "the cache volume is not unmounted yet: %s" % error)
            return None
        self._say(
            "info", "cache volume unmounted: %.1f MB in it, %+.1f MB by this run" % (used / 1e6, grown / 1e6)
        )
        return {"used": used, "grown": grown}

    def _say(self, level: str, text: str) -> None:
        self._journal.emit("notice", level=level, text=text)


def _is_blank(device: str) -> bool:
    """Whether nothing at all is on a disk: only then is it formatted. Raises ``Unusable`` where that cannot be told."""
    with open(device, "rb") as file:
        if file.read(LOOKED_AT).strip(b"\0"):
            return False
    done = _ask(["blkid", "-p", "-o", "export", device])
    if done.returncode not in (0, NOTHING_THERE):
        raise Unusable("blkid does not say what is on %s: exit status %d" % (device, done.returncode))
    return done.returncode == NOTHING_THERE


def _run(argv: list[str]) -> None:
    done = _ask(argv)
    if done.returncode != 0:
        detail = done.stdout.decode("utf-8", "replace").strip()[-300:] or "exit status %d" % done.returncode
        raise Unusable("%s: %s" % (argv[0], detail))


def _ask(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
    env = dict(os.environ, PATH=os.environ.get("PATH", "") + ":" + SYSTEM_PATH, LC_ALL="C")
    return subprocess.run(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def _used(path: str) -> int:
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize

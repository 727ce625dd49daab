"""The instances of one sandbox: their life, disks and volumes, whatever ground they stand on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from runctl.sandbox.instances import disk, janitor, rooted
from runctl.sandbox.instances.facts import Facts
from runctl.sandbox.instances.imds import Metadata

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from runctl.sandbox.instances.ground import Ground
    from runctl.sandbox.instances.layout import Layout
    from runctl.sandbox.state import RoleCredentials

log = logging.getLogger("runctl.sandbox.instances")

GIB = 1 << 30
VOLUME_GIB = 8  # of a volume whose size nobody said
CONSOLE_KEPT = 64 * 1024  # bytes of the end, which EC2 keeps of a terminated instance too
AGENT_LOG = "/var/log/amazon/ssm/amazon-ssm-agent.log"


class Machines:
    """Boots, stops and deletes instances. Made by `build` or `make`; every method belongs to its event loop.

    `on_shutdown(id)` is called when a guest powered itself off or died. `weaker` says, a sentence each, what is less
    than an instance of its own here; empty in namespaces. `boot_seconds` is how long a boot takes at least.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        credentials: Callable[[str, str], RoleCredentials | None],
        ground: Callable[[str], Ground],
        agent: list[str] | None = None,
        boot_seconds: float = 0.0,
        plainly: bool = False,
    ) -> None:
        self._layout = layout
        self._make_ground = ground
        self._credentials = credentials
        self._agent = agent
        self._plainly = plainly
        self._all: dict[str, Facts] = {}
        self._ending: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_words: dict[str, bytes] = {}  # consoles of those that are gone
        self._images = 0
        self._chosen: Ground | None = None
        self.boot_seconds = boot_seconds
        self.on_shutdown: Callable[[str], None] | None = None

    async def begin(self) -> None:
        """Removes what an earlier sandbox left in the folder and readies the ground. Raises OSError."""
        await asyncio.to_thread(janitor.sweep, self._layout)
        self._layout.create()
        why = "asked for" if self._plainly else await asyncio.to_thread(rooted.obstacle, self._layout.root)
        self._chosen = self._make_ground(why)
        self._chosen.died = self._died
        try:
            await self._chosen.open()
        except BaseException:
            await self.close()
            raise

    @property
    def _ground(self) -> Ground:
        if self._chosen is None:
            raise OSError("the sandbox's instances are not ready")
        return self._chosen

    @property
    def weaker(self) -> tuple[str, ...]:
        """What is less than an instance of its own, a sentence each."""
        return self._ground.weaker

    async def boot(
        self,
        instance: str,
        *,
        address: str,
        image_disk: Path | None = None,
        user_data: bytes = b"",
        tags: Mapping[str, str] | None = None,
        profile: str = "",
        services: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        """Starts an instance for the first time; returns when its PID 1 runs.

        `services` are programs of the guest's own that run as long as it is up: `{"argv", "env", "log"}` each; the
        SSM agent is added when there is a profile. `more` are fields of `Facts`; `on_end` among them is called in place
        of `on_shutdown`. Raises OSError, after which
        nothing of it is left, and FileExistsError when there is one of that name.
        """
        facts = Facts(
            id=instance,
            folder=self._layout.instance(instance),
            address=address,
            tags=dict(tags or {}),
            user_data=user_data,
            profile=profile,
            launched=time.time(),
            services=list(services or []),
            **more,
        )
        if profile and self._agent:
            facts.services.append({"argv": self._agent, "env": {}, "log": AGENT_LOG})
        base = image_disk or self._layout.images / "base"
        async with self._locks.setdefault(instance, asyncio.Lock()):
            await asyncio.to_thread(disk.create, facts.folder, base)
            self._all[instance] = facts
            self._last_words.pop(instance, None)
            try:
                await self._boot(facts)
            except BaseException:
                self._all.pop(instance, None)
                await asyncio.to_thread(disk.remove, facts.folder)
                raise

    async def _boot(self, facts: Facts) -> None:
        if self.boot_seconds:
            await asyncio.sleep(self.boot_seconds)
        await self._ground.boot(facts, self._metadata(facts).handle)
        facts.up = True

    def _metadata(self, facts: Facts) -> Metadata:
        power = getattr(self._ground, "power", None)
        return Metadata(facts, self._credentials, power and (lambda kind, delay: power(facts, kind, delay)))

    def _died(self, instance: str, again: bool) -> None:  # noqa: FBT001 - a callback
        facts = self._all.get(instance)
        if facts is None:
            return
        facts.up = False
        if instance in self._ending:
            return
        if again:
            self._go(self.start(instance))
        elif (tell := facts.on_end or self.on_shutdown) is not None:
            tell(instance)

    def _go(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _find(self, instance: str) -> Facts:
        """Raises FileNotFoundError for one that is not there."""
        try:
            return self._all[instance]
        except KeyError:
            raise FileNotFoundError(f"no instance {instance}") from None

    async def start(self, instance: str) -> None:
        """Boots a stopped instance from its disk; user data does not run again. Nothing happens when it is up."""
        facts = self._find(instance)
        async with self._locks[instance]:
            if not facts.up:
                facts.notice = facts.rebalance = None
                await self._boot(facts)

    async def stop(self, instance: str) -> None:
        """Powers an instance off and keeps its disk. Safe to repeat; an unknown one is no error."""
        await self._end(instance, politely=True)

    async def kill(self, instance: str) -> None:
        """Pulls the plug, as failing hardware does; the disk stays, `on_shutdown` is called. Safe to repeat."""
        if facts := self._all.get(instance):
            await self._ground.halt(facts, politely=False)

    async def _end(self, instance: str, *, politely: bool) -> None:
        facts = self._all.get(instance)
        if facts is None:
            return
        async with self._locks[instance]:
            self._ending.add(instance)
            try:
                await self._ground.halt(facts, politely=politely)
                facts.up = False
            finally:
                self._ending.discard(instance)

    async def reboot(self, instance: str) -> None:
        """Powers off and boots again. Raises FileNotFoundError for an unknown one, OSError when it does not boot."""
        await self.stop(instance)
        await self.start(instance)

    async def terminate(self, instance: str) -> None:
        """Ends an instance and deletes its disk; its volumes are detached. Safe to repeat."""
        facts = self._all.get(instance)
        if facts is None:
            return
        await self._end(instance, politely=True)
        for volume in list(facts.volumes):
            await self.detach_volume(instance, volume)
        self._last_words[instance] = self.console(instance)
        self._all.pop(instance, None)
        self._locks.pop(instance, None)
        await asyncio.to_thread(disk.remove, facts.folder)

    def notice(self, instance: str, action: str, at: float) -> None:
        """The metadata service tells of `action` (terminate, stop, hibernate) at `at`, seconds since 1970."""
        self._find(instance).notice = (action, at)

    def rebalance(self, instance: str) -> None:
        """The metadata service recommends a rebalance from now on."""
        self._find(instance).rebalance = time.time()

    def retag(self, instance: str, tags: Mapping[str, str]) -> None:
        """The instance's tags are now these; the metadata service shows them where that is switched on."""
        self._find(instance).tags = dict(tags)

    def fill_disk(self, instance: str, *, full: bool) -> None:
        """Writes in the instance fail with ENOSPC from soon on while `full`; what is open already can still be written.

        Raises FileNotFoundError; a ground that cannot do it says so in the log.
        """
        facts = self._find(instance)

        async def fill() -> None:
            try:
                await self._ground.fill(facts, full=full)
            except OSError as error:
                log.warning("%s: cannot fill the disk: %s", instance, error)

        self._go(fill())

    def console(self, instance: str) -> bytes:
        """The end of what the instance wrote to its console, also once it is gone. Raises FileNotFoundError."""
        if instance in self._last_words:
            return self._last_words[instance]
        path = self._find(instance).folder / "console.log"
        return path.read_bytes()[-CONSOLE_KEPT:] if path.exists() else b""

    def services(self, instance: str) -> list[dict[str, Any]]:
        """The programs that run in an instance as long as it is up. Raises FileNotFoundError."""
        return self._find(instance).services

    async def dial(self, instance: str, port: int) -> socket.socket:
        """A connection to a port of the instance, as from beside it. Raises OSError."""
        return await self._ground.dial(self._find(instance), port)

    async def snapshot_disk(self, instance: str) -> Path:
        """A copy of the instance's disk to boot others from; stays until `delete_disk` or the sandbox's end."""
        self._images += 1
        image = self._layout.images / f"disk-{self._images:05d}"
        await asyncio.to_thread(disk.snapshot, self._find(instance).folder, image)
        return image

    async def renew(self, instance: str, *, keep: Sequence[str], address: str = "") -> None:
        """Gives a stopped instance a fresh disk but for the folders in `keep`, and another address if one is given.

        Raises FileNotFoundError, and OSError while it runs.
        """
        facts = self._find(instance)
        async with self._locks[instance]:
            if facts.up:
                raise OSError(f"{instance} is running")
            await asyncio.to_thread(disk.renew, facts.folder, self._layout.images / "base", keep)
            facts.address = address or facts.address

    async def delete_disk(self, image: Path) -> None:
        """Deletes an image; instances booted from it have their own copy. Safe to repeat."""
        await asyncio.to_thread(disk.remove, image)

    async def attach_volume(
        self, instance: str, volume_id: str, device: str, *, gib: int = VOLUME_GIB
    ) -> None:
        """Attaches a volume, made empty with `gib` GiB if it is new; it survives its instances. Raises OSError."""
        facts = self._find(instance)
        path = self._layout.volume(volume_id)
        if not path.exists():
            await asyncio.to_thread(self._ground.make_volume, path, gib * GIB)
        await self._ground.attach(facts, volume_id, path, device, len(facts.volumes) + 1)
        facts.volumes[volume_id] = device

    async def detach_volume(self, instance: str, volume_id: str) -> None:
        """Takes a volume away; what was written stays. Safe to repeat."""
        facts = self._all.get(instance)
        if facts is not None and facts.volumes.pop(volume_id, None) is not None:
            await self._ground.detach(facts, volume_id)

    async def delete_volume(self, volume_id: str) -> None:
        """Deletes a volume's or snapshot's bytes. Safe to repeat."""
        path = self._layout.volume(volume_id)
        if path.is_dir():
            await asyncio.to_thread(shutil.rmtree, path)
        else:
            path.unlink(missing_ok=True)

    async def copy_volume(self, source: str, target: str) -> None:
        """The bytes of one volume or snapshot become another's; nothing happens when the source is still empty."""
        path = self._layout.volume(source)
        if path.exists():
            await self.delete_volume(target)
            argv = ["cp", "-a", *(("--sparse=always", "--reflink=auto") if sys.platform == "linux" else ())]
            copying = await asyncio.create_subprocess_exec(*argv, str(path), str(self._layout.volume(target)))
            if await copying.wait() != 0:
                raise OSError(f"cannot copy {source} to {target}")

    async def reset(self) -> None:
        """Terminates every instance and deletes all images and volumes."""
        await asyncio.gather(*(self.terminate(each) for each in list(self._all)))
        self._last_words.clear()
        for image in self._layout.images.iterdir():
            if image.name != "base":
                await asyncio.to_thread(disk.remove, image)
        for path in self._layout.volumes.iterdir():
            await self.delete_volume(path.name)

    async def close(self) -> None:
        """Ends every instance at once and removes all that was made, disks included. Safe to repeat."""
        self._ending.update(self._all)
        for task in list(self._tasks):
            task.cancel()
        if self._chosen is not None:
            await self._chosen.close()
        self._all.clear()
        await asyncio.to_thread(janitor.sweep, self._layout)
        with contextlib.suppress(OSError):
            self._layout.root.rmdir()

"""The keeper: PID 1 of a sandbox's outer namespaces (processes, mounts, network without a route), and its bridge.

Everything an instance is made of lives in these namespaces, so the keeper's end, however it comes, is the end of
every process, mount, wire and loop device. It ends when the sandbox's side of its socket closes. Started by
`rooted.py` as `unshare --pid --net --mount ... python -m runctl.sandbox.instances.keeper FD`; speaks JSON datagrams:
`{"do": "boot"|"kill"|"dial"|"attach"|"detach"|"fill", "call": n, ...}` in, `{"call": n, ...}` and `{"event": ...}` out.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from runctl.sandbox.instances import birth, kernel

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE = 256 * 1024
UNREACHABLE = ("192.0.2.1", 9)  # TEST-NET-1 (RFC 5737): nobody's address, asked for before anybody else is


class Keeper:
    """The state of the one keeper: who lives, and which loop device holds which volume."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.parents: dict[int, str] = {}  # pid of the process that waits for an instance's PID 1 → instance
        self.inits: dict[str, int] = {}
        self.loops: dict[str, tuple[int, dict[str, Any]]] = {}  # volume → descriptor, device
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.wires = 0

    def prepare(self) -> None:
        """The network all instances share. Raises OSError unless a wrong address cannot be reached from it."""
        birth.no_ipv6()
        birth.ip(["link set lo up", "link add br0 type bridge", "link set br0 up"])
        routes = kernel.default_routes()
        if routes:
            raise OSError(f"the sandbox's network has a default route: {routes[0]}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            if probe.connect_ex(UNREACHABLE) == 0:  # of a datagram socket: nothing is sent
                raise OSError("the sandbox's network reaches addresses outside it")

    def send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """One datagram to the sandbox."""
        socket.send_fds(self.control, [json.dumps(message).encode()], descriptors or [])

    def boot(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Forks the parent of a new instance; `born` or `died` comes as an event from there."""
        self.wires += 1
        spec["wire"] = f"v{self.wires}"
        spec["devices"] = [self.loops[volume][1] for volume in spec["volumes"]]
        pid = os.fork()
        if pid == 0:
            status = birth.CRASHED
            try:
                for descriptor, _ in self.loops.values():
                    os.close(descriptor)
                status = birth.give_birth(spec, self.control, f"/proc/self/fd/{self.home}")
            except BaseException as error:  # noqa: BLE001 - told to the sandbox, which raises it
                with contextlib.suppress(OSError):
                    self.send({"event": "stillborn", "id": spec["id"], "error": str(error)})
            os._exit(status)
        self.parents[pid] = spec["id"]
        return {}

    def born(self, instance: str, init: int) -> None:
        """Remembers the PID 1 of an instance (the sandbox repeats what the instance's parent told it)."""
        self.inits[instance] = init

    def kill(self, instance: str, number: int) -> dict[str, Any]:
        """Sends a signal to the instance's PID 1; nothing happens when it is down already."""
        with contextlib.suppress(KeyError, ProcessLookupError):
            os.kill(self.inits[instance], number)
        return {}

    def dial(self, instance: str) -> list[int]:
        """A fresh TCP socket inside the instance's network, for the sandbox to connect. Raises OSError, KeyError."""
        kernel.enter(f"/proc/{self.inits[instance]}/ns/net")
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        finally:
            kernel.enter(f"/proc/self/fd/{self.home}")
        return [sock.detach()]

    def attach(self, volume: str, image: str, names: list[str], instance: str) -> dict[str, Any]:
        """Ties a volume's file to a loop device and shows it in the instance if it runs. Raises OSError."""
        if volume not in self.loops:
            descriptor, minor = kernel.loop_device(image)
            self.loops[volume] = descriptor, {"names": names, "minor": minor}
        if instance in self.inits:
            birth.add_device(f"/proc/{self.inits[instance]}/root/dev", self.loops[volume][1])
        return {}

    def detach(self, volume: str, instance: str) -> dict[str, Any]:
        """Takes a volume from the instance; safe to repeat. A file system still mounted lives until unmounted."""
        if volume in self.loops:
            descriptor, device = self.loops.pop(volume)
            if instance in self.inits:
                birth.remove_device(f"/proc/{self.inits[instance]}/root/dev", device)
            kernel.free_loop(descriptor)
        return {}

    def fill(self, instance: str, *, full: bool) -> dict[str, Any]:
        """Lays a layer without any room over the instance's folders, or takes it away. Raises OSError, KeyError."""
        init = self.inits[instance]
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                kernel.enter(f"/proc/{init}/ns/mnt")
                birth.lay_full() if full else birth.lift_full()
            except BaseException as error:  # noqa: BLE001 - told to the caller
                os.write(writing, str(error).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            complaint = pipe.read().decode()
        if complaint:
            raise OSError(complaint)
        return {}

    def bury(self) -> None:
        """Collects who ended and tells the sandbox."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                instance = self.parents.pop(ended[0], None)
                if instance is not None:
                    self.inits.pop(instance, None)
                    self.send({"event": "died", "id": instance, "status": birth.ending(ended[1])})

    def obey(self, message: dict[str, Any]) -> None:
        """Does one thing and answers; an error is an answer too."""
        call, do = message.pop("call"), message.pop("do")
        answer: dict[str, Any] = {}
        descriptors: list[int] = []
        try:
            if do == "dial":
                descriptors = self.dial(**message)
            elif do == "born":
                self.born(**message)
            else:
                steps: dict[str, Callable[..., dict[str, Any]]] = {
                    "boot": self.boot,
                    "kill": self.kill,
                    "attach": self.attach,
                    "detach": self.detach,
                    "fill": self.fill,
                }
                answer = steps[do](**message)
        except (OSError, KeyError) as error:
            answer = {"error": str(error)}
        self.send({"call": call, **answer}, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def serve(self) -> None:
        """Until the sandbox is gone."""
        waking, woken = os.pipe()
        for descriptor in (waking, woken):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken)
        self.send({"event": "ready"})
        while True:
            readable, _, _ = select.select([self.control.fileno(), waking], [], [])
            if waking in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(waking, 4096)
                self.bury()
            if self.control.fileno() in readable:
                data = self.control.recv(MESSAGE)
                if not data:
                    return
                self.obey(json.loads(data))


def main() -> int:
    """Serves on the inherited socket whose number is the first argument; the exit status."""
    keeper = Keeper(socket.socket(fileno=int(sys.argv[1])))
    os.set_inheritable(keeper.control.fileno(), False)
    try:
        keeper.prepare()
    except OSError as error:
        keeper.send({"event": "failed", "error": str(error)})
        return 1
    with contextlib.suppress(ConnectionError):
        keeper.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())

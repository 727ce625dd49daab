"""Plain SSH hosts: machines nobody rents, reached by OpenSSH with keys and a configuration made for them."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.sandbox import sshd
from runctl.sandbox.instances.pump import Forward

if TYPE_CHECKING:
    from pathlib import Path

    from runctl.sandbox.instances.machines import Machines


@dataclass
class Host:
    """One host: the name in `config`, and where it really is."""

    name: str
    port: int
    user: str
    config: Path
    forward: Forward


class SshHosts:
    """The SSH hosts of a sandbox, below `folder`: `id_ed25519`, `known_hosts`, and `config` for `ssh -F`.

    Methods belong to the event loop of the machines.
    """

    def __init__(self, machines: Machines, folder: Path) -> None:
        self._machines = machines
        self._folder = folder
        self._count = 0
        self._key: sshd.Key | None = None
        self._host_keys: dict[str, sshd.Key] = {}
        self.hosts: dict[str, Host] = {}

    async def add(self, name: str) -> Host:
        """Boots a host; returns when its sshd answers, `ssh -F CONFIG NAME` then works.

        Raises RunctlError (`sandbox-needs-package`) without OpenSSH, OSError when it does not boot, FileExistsError
        for a name that is taken.
        """
        if name in self.hosts:
            raise FileExistsError(name)
        key = self._key = self._key or self._write_key()
        host_key = self._host_keys[name] = sshd.make_key(name)
        service = sshd.service(authorized=key.public, host_key=host_key, plainly=bool(self._machines.weaker))
        self._count += 1
        instance = f"ssh-{name}"
        await self._machines.boot(
            instance,
            address=f"10.66.{self._count // 250}.{self._count % 250 + 1}",
            services=[service],
            instance_type="host",
            name=name,
        )
        port = service["port"]

        async def dial() -> Any:
            return await self._machines.dial(instance, port)

        forward = Forward(dial)
        try:
            await sshd.answers(dial)
            await forward.start()
        except OSError:
            await self._machines.terminate(instance)
            raise
        self.hosts[name] = Host(name, forward.port, getpass.getuser(), self._folder / "config", forward)
        self._write_config()
        return self.hosts[name]

    def _write_key(self) -> sshd.Key:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = sshd.make_key("runctl sandbox")
        path = self._folder / "id_ed25519"
        path.touch(mode=0o600)
        path.write_text(key.private)
        path.with_suffix(".pub").write_text(key.public + "\n")
        return key

    def _write_config(self) -> None:
        known = [
            f"[127.0.0.1]:{each.port} {self._host_keys[each.name].public}\n" for each in self.hosts.values()
        ]
        (self._folder / "known_hosts").write_text("".join(known))
        text = "".join(
            f"Host {each.name}\n  HostName 127.0.0.1\n  Port {each.port}\n  User {each.user}\n"
            f"  IdentityFile {self._folder}/id_ed25519\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self._folder}/known_hosts\n  StrictHostKeyChecking yes\n\n"
            for each in self.hosts.values()
        )
        (self._folder / "config").write_text(text)

    async def remove(self, name: str) -> None:
        """Ends a host and deletes its disk. Safe to repeat."""
        host = self.hosts.pop(name, None)
        if host is not None:
            await host.forward.close()
            await self._machines.terminate(f"ssh-{name}")
            self._host_keys.pop(name)
            self._write_config()

    async def close(self) -> None:
        """Ends all hosts. Safe to repeat."""
        for name in list(self.hosts):
            await self.remove(name)

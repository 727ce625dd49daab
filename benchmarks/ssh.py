"""When the script of an unchanged project starts on a warm SSH host: sshd here, and a line of known latency between."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Limit, Row, in_turns
from benchmarks.world import RUNCTL, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE_WAY = 0.02  # seconds that every byte is late on the slow line; a round trip is twice that
ROUND_TRIPS, BESIDE = (
    4,
    0.4,
)  # the target: so many round trips, and so many seconds, over a run on this computer


class Late:
    """Carries TCP connections to ``port``, each byte ``seconds`` late."""

    def __init__(self, port: int, seconds: float) -> None:
        self._to, self._seconds = port, seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                for each in (here, there):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for pair in ((here, there), (there, here)):
                    self._carry(*pair)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        waiting: list[tuple[float, bytes]] = []
        more = threading.Condition()

        def take() -> None:
            data = b"-"
            while data:
                try:
                    data = source.recv(1 << 16)
                except OSError:
                    data = b""
                with more:
                    waiting.append((time.monotonic() + self._seconds, data))
                    more.notify()

        def give() -> None:
            while True:
                with more:
                    more.wait_for(lambda: waiting)
                    due, data = waiting.pop(0)
                time.sleep(max(0.0, due - time.monotonic()))
                with contextlib.suppress(OSError):
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)

        for work in (take, give):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """No further connections."""
        self._listener.close()


@contextlib.contextmanager
def server(folder: Path, home: Path) -> Iterator[int]:
    """An sshd of this user, with keys of its own in ``folder``; its port."""
    for name in ("id", "host_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
            check=True,
            capture_output=True,
        )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    settings = folder / "sshd_config"
    settings.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/id.pub\n"
        f'PidFile none\nStrictModes no\nUsePAM no\nSetEnv "HOME={home}" "PATH={os.environ["PATH"]}"\n'
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd of root insists on it
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError("there is no sshd here: install openssh-server")
    process = subprocess.Popen([program, "-D", "-e", "-f", str(settings)], stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
                if probe.recv(4):
                    break
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


def rows(*, rounds: int) -> list[Row]:
    """From the command to the first line of the script: here, on a host beside us, and on one that is 40 ms away."""
    with new_world() as world, tempfile.TemporaryDirectory(prefix="rs") as name:
        folder = Path(name)
        there = folder / "there"
        there.mkdir()
        project = world.project("bare", {"now.py": "import time\nprint(time.time())\n"})
        with server(folder, there) as port, contextlib.closing(Late(port, ONE_WAY)) as late:
            key = (folder / "host_key.pub").read_text()
            ports = {"near": port, "far": late.port}
            (folder / "known").write_text("".join(f"[127.0.0.1]:{each} {key}" for each in ports.values()))
            (folder / "config").write_text(
                "".join(
                    f"Host {host}\n HostName 127.0.0.1\n Port {each}\n IdentityFile {folder}/id\n"
                    f" UserKnownHostsFile {folder}/known\n"
                    for host, each in ports.items()
                )
            )
            env = {**world.env, "RUNCTL_SSH_CONFIG": str(folder / "config")}

            def started(target: str) -> float:
                begun = time.time()
                done = subprocess.run(
                    [RUNCTL, "train", "now.py", "--on", target],
                    env=env,
                    cwd=project,
                    capture_output=True,
                    check=True,
                )
                return float(done.stdout) - begun

            targets = ("local", "ssh://near", "ssh://far")
            found = in_turns({target: partial(started, target) for target in targets}, rounds=rounds)
    local = Row("until the script starts, --on local", found["local"])
    near = Row("--on ssh://near", found["ssh://near"], floor=local.value, note="no latency")
    trips = 2 * ONE_WAY
    return [
        local,
        near,
        Row(
            "--on ssh://far",
            found["ssh://far"],
            floor=local.value,
            limit=Limit("over", ROUND_TRIPS * trips + BESIDE),
            note=f"{trips * 1000:g} ms a round trip",
        ),
        Row(
            "round trips of it",
            tuple((far - near.value) / trips for far in found["ssh://far"]),
            unit="trips",
            note="what the latency adds, over one round trip",
        ),
    ]

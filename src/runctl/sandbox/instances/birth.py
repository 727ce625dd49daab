"""How one instance comes to be, from the inside: namespaces, network, root, and at last its PID 1.

Runs in a process forked by the keeper (the *parent* of the instance), which stays until the instance is down. Every
file of the guest is written through the mounted root: what is written beside an overlay may never be seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
from typing import Any

from runctl.sandbox.instances import kernel
from runctl.sandbox.instances.layout import IMDS_ADDRESS, PROXY_ADDRESS, PROXY_PORT

REBOOT = 64  # exit status of the guest's PID 1 that wants to be booted again
CRASHED = 70
FULL = "/run/runctl/full"  # where the layer without room is kept, in a guest whose disk is full
_NODES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}  # minor numbers of major 1 (mem)


def ip(lines: list[str]) -> None:
    """Runs the commands of iproute2's batch mode, all or an OSError with its words."""
    done = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise OSError(f"ip: {done.stderr.strip()}")


def no_ipv6() -> None:
    """Interfaces made from now on in this network namespace have no IPv6 addresses."""
    switch = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
    if os.path.exists(switch):
        with open(switch, "w") as file:
            file.write("1")


def connect(spec: dict[str, Any], outer: str) -> None:
    """The network of the instance: loopback with the metadata address, and a wire to the bridge of the sandbox."""
    no_ipv6()
    ip(
        [
            "link set lo up",
            f"addr add {IMDS_ADDRESS}/32 dev lo",
            f"addr add {PROXY_ADDRESS}/32 dev lo",
            f"link add eth0 type veth peer name {spec['wire']} netns 1",
            f"addr add {spec['address']}/{spec['prefix']} dev eth0",
            "link set eth0 up",
        ]
    )
    inner = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    kernel.enter(outer)
    ip([f"link set {spec['wire']} master br0 up"])
    kernel.enter(f"/proc/self/fd/{inner}")
    os.close(inner)
    if kernel.default_routes():
        raise OSError("the instance's network has a default route; nothing may be started in it")


def listen(address: str, port: int) -> socket.socket:
    """A listening socket that belongs to the instance's network, for the sandbox to answer on."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(256)
    return sock


def build_root(spec: dict[str, Any]) -> str:
    """Mounts the instance's root and all below it but /proc; its path."""
    folder = spec["folder"]
    root = f"{folder}/root"
    kernel.mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work")
    for source in spec["binds"]:
        os.makedirs(root + source, exist_ok=True)
        kernel.bind(source, root + source, read_only=True)
    kernel.mount("sysfs", f"{root}/sys", "sysfs", kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)
    kernel.mount("run", f"{root}/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64m")
    for name in ("lock", "runctl", "sshd"):
        os.mkdir(f"{root}/run/{name}")
    build_devices(f"{root}/dev", spec["devices"])
    write_identity(root, spec)
    return root


def build_devices(dev: str, devices: list[dict[str, Any]]) -> None:
    """A /dev with what programs expect and the attached volumes, nothing of the host's."""
    kernel.mount("dev", dev, "tmpfs", kernel.MS_NOSUID, "mode=755,size=64k")
    for name, minor in _NODES.items():
        kernel.device_node(f"{dev}/{name}", 1, minor)
    kernel.device_node(f"{dev}/tty", 5, 0)
    for name in ("pts", "shm"):
        os.mkdir(f"{dev}/{name}")
    kernel.mount(
        "devpts", f"{dev}/pts", "devpts", kernel.MS_NOSUID, "newinstance,ptmxmode=0666,mode=620,gid=5"
    )
    kernel.mount("shm", f"{dev}/shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        os.symlink(target, f"{dev}/{name}")
    for device in devices:
        add_device(dev, device)


def add_device(dev: str, device: dict[str, Any]) -> None:
    """A volume's block device under the name that was asked for and those that AWS's kernels give it."""
    names = device["names"]
    kernel.device_node(f"{dev}/{names[0]}", 7, device["minor"], block=True, mode=0o660)
    for alias in names[1:]:
        path = f"{dev}/{alias}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(f"/dev/{names[0]}", path)


def remove_device(dev: str, device: dict[str, Any]) -> None:
    """Takes a volume's names away again; safe to repeat."""
    for name in device["names"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{dev}/{name}")


def lay_full() -> None:
    """Covers every folder of the root by a layer on a file system without room: reading works, writing does not.

    Runs inside the instance's mount namespace. Safe to repeat. Raises OSError.
    """
    if os.path.ismount(FULL):
        return
    os.makedirs(FULL, exist_ok=True)
    kernel.mount("full", FULL, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=700,size=256k")
    covered = []
    for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False) and entry.name not in {"proc", "sys", "dev", "run"}:
            for part in ("upper", "work"):
                os.makedirs(f"{FULL}/{entry.name}/{part}")
            shutil.copystat(entry.path, f"{FULL}/{entry.name}/upper")
            covered.append(entry.name)
    for name in covered:
        data = f"lowerdir=/{name},upperdir={FULL}/{name}/upper,workdir={FULL}/{name}/work"
        kernel.mount("overlay", f"/{name}", "overlay", 0, data)
    with contextlib.suppress(OSError), open(f"{FULL}/ballast", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def lift_full() -> None:
    """Takes the layer of `lay_full` away again, with what was changed through it. Safe to repeat. Raises OSError."""
    if os.path.ismount(FULL):
        for name in os.listdir(FULL):
            if os.path.ismount(f"/{name}"):
                kernel.detach(f"/{name}")
        kernel.detach(FULL)


def write_identity(root: str, spec: dict[str, Any]) -> None:
    """Who this instance is, anew at every boot: an image may have been somebody else's disk."""
    name, address = spec["hostname"], spec["address"]
    files = {
        "/etc/hostname": f"{name}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {name} {name.partition('.')[0]}\n",
        "/etc/machine-id": hashlib.md5(spec["id"].encode(), usedforsecurity=False).hexdigest() + "\n",
        "/run/runctl/boot.json": json.dumps(
            {
                "instance_id": spec["id"],
                **{key: spec[key] for key in ("hostname", "address", "env", "services")},
            }
        ),
    }
    for path, text in files.items():
        with open(root + path, "w") as file:
            file.write(text)
    shutil.copyfile(spec["user_data"], f"{root}/run/runctl/user-data")


def become_init(root: str, spec: dict[str, Any], console: int) -> None:
    """The last steps, as PID 1 of the new namespace: /proc, the root, less power, and the guest's own init."""
    kernel.die_with_parent()
    os.setsid()
    kernel.mount("proc", f"{root}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.change_root(root)
    for path in ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/sysrq-trigger"):
        if os.path.exists(path):
            kernel.bind(path, path, read_only=True)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in (1, 2):
        os.dup2(console, descriptor)
    kernel.drop_capabilities()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    # The kernel drops what PID 1 neither handles nor blocks: a power off that comes before init is ready must wait.
    signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGTERM, *range(signal.SIGRTMIN + 3, signal.SIGRTMIN + 6)}
    )
    os.execve(spec["init"][0], spec["init"], spec["env"])  # noqa: S606 - an argv, no shell


def ending(status: int) -> int:
    """How a PID 1 ended, as this process' own exit status; reboot(2) in a PID namespace shows as a signal."""
    if os.WIFSIGNALED(status):
        return {signal.SIGHUP: REBOOT, signal.SIGINT: 0}.get(signal.Signals(os.WTERMSIG(status)), CRASHED)
    return os.WEXITSTATUS(status)


def give_birth(spec: dict[str, Any], control: socket.socket, outer: str) -> int:
    """Builds the instance, reports `born` with its three listening sockets, waits for its end; the exit status.

    Raises OSError, after which nothing of the instance remains but its disk.
    """
    kernel.unshare(kernel.NEW_NET | kernel.NEW_MOUNT | kernel.NEW_HOSTNAME | kernel.NEW_IPC)
    socket.sethostname(spec["hostname"])
    connect(spec, outer)
    sockets = [
        listen(IMDS_ADDRESS, 80),
        listen("127.0.0.1", spec["endpoint_port"]),
        listen(PROXY_ADDRESS, PROXY_PORT),
    ]
    root = build_root(spec)
    console = os.open(
        f"{spec['folder']}/console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
    )
    kernel.unshare(kernel.NEW_PID)
    reading, writing = os.pipe()
    init = os.fork()
    if init == 0:
        try:
            become_init(root, spec, console)
        except BaseException as error:  # noqa: BLE001 - told to the parent, which raises it
            os.write(writing, str(error).encode())
        os._exit(CRASHED)
    os.close(writing)
    with open(reading, "rb") as pipe:
        complaint = pipe.read().decode()  # empty once the exec has closed the pipe
    if complaint:
        raise OSError(complaint)
    message = json.dumps({"event": "born", "id": spec["id"], "init": init}).encode()
    socket.send_fds(control, [message], [sock.fileno() for sock in sockets])
    for sock in (*sockets, control):
        sock.close()
    return ending(os.waitpid(init, 0)[1])

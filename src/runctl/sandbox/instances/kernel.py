"""The few Linux calls that Python 3.11 does not have: namespaces, mounts, capabilities, loop devices.

Constants are those of the kernel's own headers (sched.h, mount.h, prctl.h, capability.h, loop.h).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import stat
import struct

NEW_NET, NEW_MOUNT, NEW_PID, NEW_HOSTNAME, NEW_IPC = (
    0x40000000,
    0x00020000,
    0x20000000,
    0x04000000,
    0x08000000,
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
_DETACH = 2  # umount2: MNT_DETACH
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP = 1, 24

# What root inside an instance may not do, because it would reach the host: load modules, raw I/O, set the clock,
# make device nodes, read the kernel's log, change the audit or MAC policy, wake the host.
FORBIDDEN_CAPABILITIES = (16, 17, 25, 27, 30, 32, 33, 34, 35)

_LOOP_CONFIGURE, _LOOP_CLR_FD, _LOOP_CTL_GET_FREE = 0x4C0A, 0x4C01, 0x4C82
_LO_AUTOCLEAR = 4  # the device frees itself when its last user has closed it, however that user ended


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *args: object) -> None:
    if getattr(_libc(), name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Moves the calling process into new namespaces (NEW_PID: its next child). Raises OSError."""
    _call("unshare", ctypes.c_int(flags))


def enter(namespace: str) -> None:
    """Moves the calling thread into the namespace that a file (`/proc/<pid>/ns/net`) stands for. Raises OSError."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", ctypes.c_int(descriptor), ctypes.c_int(0))
    finally:
        os.close(descriptor)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mounts; `kind` is the file system, empty for bind and remount. Raises OSError."""
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        os.fsencode(data) or None,
    )


def bind(source: str, target: str, *, read_only: bool) -> None:
    """Shows a file or folder in a second place. Raises OSError."""
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def detach(target: str) -> None:
    """Takes a mount away, at once from sight and wholly when its last user is gone. Raises OSError."""
    _call("umount2", os.fsencode(target), ctypes.c_int(_DETACH))


def change_root(root: str) -> None:
    """Makes the mount at `root` the root of this mount namespace; the old one is gone. Raises OSError."""
    os.chdir(root)
    _call("pivot_root", b".", b".")
    detach(".")
    os.chdir("/")


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the thread that forked it ends. Raises OSError."""
    _call("prctl", ctypes.c_int(_PR_SET_PDEATHSIG), ctypes.c_ulong(9), *([ctypes.c_ulong(0)] * 3))


def drop_capabilities() -> None:
    """Takes FORBIDDEN_CAPABILITIES from this process and all it will start. Raises OSError."""
    for capability in FORBIDDEN_CAPABILITIES:
        _call("prctl", ctypes.c_int(_PR_CAPBSET_DROP), ctypes.c_ulong(capability), *([ctypes.c_ulong(0)] * 3))


def default_routes(process: str = "self") -> list[str]:
    """The default routes of a process' network namespace, as lines of the kernel's tables.

    The loopback's 'unreachable' entries do not count. Raises OSError when the tables cannot be read.
    """
    found = []
    with open(f"/proc/{process}/net/route") as table:
        found += [line.strip() for line in table.readlines()[1:] if line.split()[1] == "00000000"]
    path = f"/proc/{process}/net/ipv6_route"
    if os.path.exists(path):
        with open(path) as table:
            for line in table:
                fields = line.split()
                if set(fields[0]) == {"0"} and fields[1] == "00" and fields[-1] != "lo":
                    found.append(line.strip())
    return found


def device_node(path: str, major: int, minor: int, *, block: bool = False, mode: int = 0o666) -> None:
    """Makes a device node with exactly `mode`. Raises OSError."""
    os.mknod(path, mode | (stat.S_IFBLK if block else stat.S_IFCHR), os.makedev(major, minor))
    os.chmod(path, mode)


def loop_device(image: str) -> tuple[int, int]:
    """Ties a file to a free loop device; (descriptor, minor number).

    The device frees itself when the descriptor and every mount of it are gone. Raises OSError.
    """
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(32):  # somebody else may take the number we were told
            minor = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{minor}", os.O_RDWR | os.O_CLOEXEC)
            # struct loop_config: fd, block size, struct loop_info64 (lo_flags at byte 52 of 232), 8 reserved words
            info = bytearray(232)
            struct.pack_into("=I", info, 52, _LO_AUTOCLEAR)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, struct.pack("=II", backing, 0) + bytes(info) + bytes(64))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, minor
        raise OSError(errno.EBUSY, "no free loop device")
    finally:
        os.close(control)
        os.close(backing)


def free_loop(device: int) -> None:
    """Unties a loop device and closes its descriptor; a file system still mounted from it stays until unmounted."""
    try:
        fcntl.ioctl(device, _LOOP_CLR_FD)
    except OSError as error:
        if error.errno not in {errno.ENXIO, errno.EBUSY}:
            raise
    finally:
        os.close(device)

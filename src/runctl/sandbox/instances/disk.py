"""Disks of instances: an empty layer over the host's file system, from which what is the host's own is hidden.

A disk is a folder `upper`, the layer that holds what the instance wrote; an image is a copy of one. In a layer, a
character device 0:0 hides a name of the layers below, and the attribute `trusted.overlay.opaque` hides all
that a folder holds below (the kernel's documentation of overlayfs).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GUEST = Path(__file__).resolve().parent.parent / "guest"
POWER = ("shutdown", "poweroff", "halt", "reboot")
# What a new machine has none of: temporary files, logs, the traces of a cloud's own boot, the host's identity.
FRESH = ("/tmp", "/var/tmp", "/var/log", "/var/lib/cloud")  # noqa: S108 - folders of the guest
HIDDEN = ("/etc/ssh/ssh_host_*",)


def kept(home: Path, environ: Mapping[str, str]) -> list[Path]:
    """What of the host an instance needs although it lies in a home or a temporary folder.

    The interpreter, this package, what installers are configured with, and the folders of PATH.
    """
    package = Path(__file__).resolve().parents[2]
    wanted = {Path(sys.prefix), Path(sys.base_prefix), package, Path(sys.executable).parent}
    wanted |= {home / name for name in (".pip", ".config/pip", ".config/uv")}
    wanted |= {Path(entry) for entry in environ.get("PATH", "").split(os.pathsep) if entry.startswith("/")}
    pyenv = Path(environ.get("PYENV_ROOT", home / ".pyenv"))
    if (pyenv / "shims") in wanted:
        wanted.add(pyenv)
    return sorted(path for path in wanted if path.exists() and path not in {home, Path("/")})


def hide(upper: Path, folder: Path, keep: Sequence[Path]) -> None:
    """Makes `folder` look empty but for the paths in `keep`, which stay with all they hold.

    With nothing to keep, what the host puts there later is hidden too; otherwise only what is there now.
    Raises OSError.
    """
    inside = [path for path in keep if path.is_relative_to(folder)]
    if folder in inside:
        return
    place = mirror(upper, folder)
    if not inside:
        os.setxattr(place, "trusted.overlay.opaque", b"y")
        return
    for entry in os.scandir(folder):
        path = folder / entry.name
        below = [kept for kept in inside if kept.is_relative_to(path)]
        if not below:
            whiteout(place / entry.name)
        elif path not in below and entry.is_dir(follow_symlinks=False):
            hide(upper, path, below)


def whiteout(path: Path) -> None:
    """Hides one name; safe to repeat. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def mirror(upper: Path, folder: Path) -> Path:
    """The folder in the layer that stands for a folder of the host, with the same owner and mode. Raises OSError."""
    place = upper / folder.relative_to("/")
    if not place.exists():
        if folder != Path("/"):
            mirror(upper, folder.parent)
        place.mkdir()
        with contextlib.suppress(FileNotFoundError):
            info = folder.stat()
            os.chown(place, info.st_uid, info.st_gid)
            place.chmod(stat.S_IMODE(info.st_mode))
    return place


def write(upper: Path, path: str, text: str, *, mode: int = 0o644) -> None:
    """Puts a file into a layer that is not mounted yet. Raises OSError."""
    place = mirror(upper, Path(path).parent) / Path(path).name
    place.unlink(missing_ok=True)
    place.write_text(text)
    place.chmod(mode)


def prepare(upper: Path, *, home: Path, private: Iterable[Path], keep: Sequence[Path]) -> None:
    """Fills the layer of a new disk that stands directly on the host's file system.

    `home` and the folders of `private` (the sandbox's own state) are hidden but for what is in `keep`; the power
    commands are replaced by ours. Raises OSError.
    """
    upper.mkdir(parents=True)
    upper.chmod(0o755)
    for folder in (Path("/root"), home, *(Path(name) for name in FRESH)):
        if folder.is_dir():
            hide(upper, folder.resolve(), keep)
    for folder in private:
        if folder.is_dir() and visible(upper, folder):
            os.setxattr(mirror(upper, folder), "trusted.overlay.opaque", b"y")
    for pattern in HIDDEN:
        for path in Path("/").glob(pattern.lstrip("/")):
            whiteout(mirror(upper, path.parent) / path.name)
    mirror(upper, Path("/root")).chmod(0o700)
    for name in ("sys", "proc", "dev", "run"):
        mirror(upper, Path("/") / name)
    script = f"#!{sys.executable} -IS\n" + (GUEST / "power.py").read_text()
    for folder in {Path("/usr/sbin").resolve(), Path("/sbin").resolve()}:
        for name in POWER:
            write(upper, str(folder / name), script, mode=0o755)
    write(upper, "/etc/resolv.conf", "# no name server: an instance of the sandbox knows addresses only\n")


def visible(upper: Path, folder: Path) -> bool:
    """Whether a folder of the host still shows through the layer: no name on its way is hidden."""
    place = upper
    for name in folder.parts[1:]:
        place /= name
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISCHR(place.lstat().st_mode):
                return False
            with contextlib.suppress(OSError):
                if os.getxattr(place, "trusted.overlay.opaque") == b"y":
                    return False
    return True


def create(folder: Path, image: Path) -> None:
    """Makes an instance's disk: an exact copy of an image's layer, and the folders to mount it with.

    A copy, not a layer below: overlayfs refuses layers that lie inside one another, and all lie inside the host's
    root. Raises FileExistsError when there is one already and OSError when it cannot be copied.
    """
    folder.mkdir(parents=True)
    copy(image / "upper", folder / "upper")
    (folder / "work").mkdir()
    (folder / "root").mkdir()


def copy(source: Path, target: Path) -> None:
    """Copies a layer exactly: holes, links, owners, attributes, hidden names. Raises OSError."""
    exactly = ("--sparse=always", "--reflink=auto") if sys.platform == "linux" else ()
    done = subprocess.run(
        ["cp", "-a", *exactly, str(source), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise OSError(f"cannot copy a disk: {done.stderr.strip()[-500:]}")


def snapshot(folder: Path, image: Path) -> None:
    """Makes an image of what an instance wrote; there is all of it or none. Raises OSError.

    A running instance may be copied; its files are then as a power cut would have left them.
    """
    partial = image.with_name(image.name + ".partial")
    remove(partial)
    partial.mkdir(parents=True)
    try:
        copy(folder / "upper", partial / "upper")
    except OSError:
        remove(partial)
        raise
    partial.rename(image)


def remove(folder: Path) -> None:
    """Deletes a disk or image; safe to repeat. Raises OSError when something of it is still mounted."""

    def unlock(function: object, path: str, error: tuple[object, BaseException, object]) -> None:
        if isinstance(error[1], FileNotFoundError):
            return
        if not isinstance(error[1], PermissionError) or not callable(function):
            raise error[1]
        for each in (os.path.dirname(path), path):  # overlayfs leaves folders without any permission
            os.chmod(each, 0o700)
        function(path)

    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, onerror=unlock)


def renew(folder: Path, image: Path, keep: Sequence[str]) -> None:
    """Gives a stopped instance the disk of an image again, but for the folders in `keep` (absolute, in the guest).

    What a container platform does with a stopped container whose volume stays. Raises OSError.
    """
    old = folder / "upper.old"
    remove(old)
    (folder / "upper").rename(old)
    copy(image / "upper", folder / "upper")
    for path in keep:
        kept = old / path.lstrip("/")
        if kept.exists():
            target = folder / "upper" / path.lstrip("/")
            remove(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            kept.rename(target)
    remove(old)

"""Do what ``mirroring`` decided: several files side by side, each there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.core.quantities import count, size
from runctl.engine.mirror_items import Left

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Store
    from runctl.engine.mirror_items import Item
    from runctl.engine.mirroring import Mirror
    from runctl.engine.steps import Step

    Told = Callable[[int], None]
    Copy = Callable[[Item, CancelToken, Told], None]
    Batch = Callable[[Mirror, Step, CancelToken], "Copied"]
    Paths = Callable[[str], Path]  # where an item of that name lies
    Keys = Callable[[str], str]  # under which key

AT_ONCE: Final = 8  # files; each large one uses several connections of its own
# what happens to one file and is no reason to give up the others
_ONE_FILE: Final = frozenset({"file-changed", "store-missing", "store-key"})


@dataclass
class Copied:
    """What was copied, and what could not be."""

    files: int = 0
    bytes: int = 0
    left: list[Left] = field(default_factory=list)


def side_by_side(how: Copy) -> Batch:
    """See ``copy``."""
    return lambda mirror, doing, cancel: copy(mirror, how, doing, cancel)


def copy(mirror: Mirror, how: Copy, doing: Step, cancel: CancelToken) -> Copied:
    """Copy what is to be copied, ``AT_ONCE`` at a time; a file that cannot be is left, and the others go on.

    Raises:
        RunctlError: the store, or the disk here, cannot go on; what has arrived stays, and a second call goes on.
        Cancelled: no half file and no half object stays.
    """
    done, lock, waiting = Copied(), threading.Lock(), iter(mirror.send)
    total, arrived = mirror.bytes, 0

    def told(more: int) -> None:
        nonlocal arrived
        with lock:
            arrived += more
            doing.progress(arrived, total, unit="bytes")

    def work(token: CancelToken) -> None:
        while True:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            token.check()
            why = _tried(item.name, partial(how, item, token, told))
            with lock:
                if why:
                    done.left.append(Left(item.name, why))
                else:
                    done.files += 1
                    done.bytes += item.size

    with together(cancel) as scope:
        for number in range(min(AT_ONCE, len(mirror.send))):
            scope.start(f"copy {number}", partial(work, scope.cancel))
    doing.summary = f"{count(done.files, 'files')}, {size(done.bytes)}"
    return done


def _tried(name: str, call: Callable[[], None]) -> str:
    """Why this one file could not be copied; empty when it was."""
    try:
        call()
    except RunctlError as error:
        if error.code not in _ONE_FILE:
            raise
        return f"{error.what}: {error.why}" if error.why else error.what
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        return error.strerror or str(error)
    except OSError as error:
        detail = error.strerror or str(error)
        raise known("objects-disk", path=error.filename or name, detail=detail) from error
    return ""


def to_store(paths: Paths, store: Store, keys: Keys, notes: Path) -> Copy:
    """Files to a store. ``notes`` is a folder for what is noted of large ones under way."""

    def put(item: Item, cancel: CancelToken, told: Told) -> None:
        path, key = paths(item.name), keys(item.name)
        mark = hashlib.sha256(os.fsencode(f"{store.url}\n{key}\n{path.absolute()}")).hexdigest()[:32]
        notes.mkdir(parents=True, exist_ok=True)
        store.put(key, path, notes=notes / mark, on_bytes=told, cancel=cancel)

    return put


def to_folder(store: Store, keys: Keys, paths: Paths) -> Copy:
    """Objects of a store to files, which get the objects' times."""
    mode = 0o666 & ~_umask()

    def fetch(item: Item, cancel: CancelToken, told: Told) -> None:
        path = paths(item.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mode & 0o7777 if path.is_file() else mode
        store.fetch(keys(item.name), path, resume=True, on_bytes=told, cancel=cancel)
        path.chmod(before)
        os.utime(path, (item.modified, item.modified))

    return fetch


def to_other_store(source: Store, theirs: Keys, target: Store, ours: Keys) -> Copy:
    """Objects of one store to another one, by way of a temporary file of this computer."""

    def carry(item: Item, cancel: CancelToken, told: Told) -> None:
        with tempfile.TemporaryDirectory(prefix="runctl-") as folder:
            path = Path(folder) / "object"
            source.fetch(theirs(item.name), path, cancel=cancel)
            target.put(ours(item.name), path, on_bytes=told, cancel=cancel)

    return carry


def delete(mirror: Mirror, remove: Callable[[list[str]], Any]) -> int:
    """Delete what is to be deleted; how many."""
    names = [item.name for item in mirror.delete]
    if names:
        remove(names)
    return len(names)


def remove_files(folder: Path, names: list[str]) -> None:
    """Delete files below ``folder``, and the folders that this leaves empty. What is not there is a success.

    Nothing is deleted through a link to a folder.
    """
    root = folder.resolve()
    for name in names:
        path = folder / name
        if path.parent.resolve() != root / Path(name).parent:
            continue
        path.unlink(missing_ok=True)
        for above in path.parents:
            if above == folder:
                break
            with contextlib.suppress(OSError):
                above.rmdir()


def _umask() -> int:
    """The process's file mode mask; there is no way to read it but to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

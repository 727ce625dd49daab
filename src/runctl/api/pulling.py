"""Bring a checkpoint of a run to this computer: from its store, or from its machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import together
from runctl.core.catalogue import known
from runctl.core.errors import AgentError
from runctl.core.quantities import size
from runctl.engine.steps import step
from runctl.engine.store_reader import StoreReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runctl.api.runtime import Runtime
    from runctl.core.cancel import CancelToken
    from runctl.core.model import Run

    Fetch = Callable[[Path, Callable[[int], None]], None]

AT_ONCE = 4  # files fetched side by side
CHUNK = 1 << 20


def pull_checkpoint(rt: Runtime, run: Run, checkpoint: Mapping[str, Any], folder: Path) -> Path:
    """Copy one of ``api.checkpoints``' complete ones into ``folder``; where it is now. Safe to repeat.

    It appears there whole or not at all, and what arrived is what the machine had: where the store has digests they
    are compared. ``checkpoint`` carries the listing's ``directory`` too.

    Raises:
        AgentError: ``checkpoint-torn`` when a file is not what the listing says.
        Cancelled: nothing of it stays.
    """
    name = run.name if checkpoint["path"] == "." else PurePosixPath(checkpoint["path"]).name
    target, done = folder / name, 0
    with step("pull", f"fetch {name}", emit=rt.emit, clock=rt.clock) as doing, _part(target) as part:

        def count(more: int) -> None:
            nonlocal done
            done += more
            doing.progress(done, checkpoint["size"], unit="bytes")

        fetch = _from_store(rt, run, checkpoint) if run.store else _from_machine(rt, run, checkpoint)
        fetch(part, count)
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(part, target)
        doing.summary = size(checkpoint["size"])
    return target


def verified(rt: Runtime, run: Run, listing: Mapping[str, Any]) -> dict[str, Any]:
    """``listing``, of a run with a store, with every byte read and compared: what is damaged is among the incomplete.

    Each is fetched to a temporary folder, one after the other, and looked into by its format.
    """
    from runctl.formats.folder import find  # noqa: PLC0415 - only for this

    good, bad = [], list(listing["incomplete"])
    for each in listing["checkpoints"]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                there = pull_checkpoint(rt, run, each, Path(folder))
                broken = find(str(there), verify=True)["incomplete"]
            except AgentError as error:  # torn, or missing in the store
                broken = [{"why": f"{error.what}: {error.why}"}]
        if broken:
            bad.append({"path": each["path"], "kind": "damaged", "why": broken[0]["why"]})
        else:
            good.append(each)
    return {**listing, "checkpoints": good, "incomplete": bad}


@contextmanager
def _part(target: Path) -> Iterator[Path]:
    """A name beside ``target`` that is gone when the block ends, whatever it became."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        yield part
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


def _from_store(rt: Runtime, run: Run, checkpoint: Mapping[str, Any]) -> Fetch:
    store = rt.store(run.store)
    below = f"runs/{run.id}/{checkpoint['attempt']}"

    def fetch(part: Path, count: Callable[[int], None]) -> None:
        waiting = list(checkpoint["files"])

        def work(cancel: CancelToken) -> None:
            while True:
                try:
                    file = waiting.pop()
                except IndexError:
                    return
                there = _place(part, checkpoint["path"], file["path"])
                store.fetch(f"{below}/{file['key']}", there, cancel=cancel, on_bytes=count)
                if _digest(there) != file["digest"]:
                    raise known("checkpoint-torn", path=file["path"], where=run.store)

        with together(rt.cancel) as scope:
            for _ in range(min(AT_ONCE, len(waiting))):
                scope.start("fetch", lambda: work(scope.cancel))

    return fetch


def _from_machine(rt: Runtime, run: Run, checkpoint: Mapping[str, Any]) -> Fetch:
    transport = rt.transport(run.endpoint)

    def fetch(part: Path, count: Callable[[int], None]) -> None:
        for path in checkpoint["paths"]:
            there = _place(part, checkpoint["path"], path)
            transport.get(PurePosixPath(checkpoint["directory"], path), there, rt.cancel)
            count(there.stat().st_size)

    return fetch


def _place(part: Path, checkpoint: str, path: str) -> Path:
    """Where a file of a checkpoint goes: a checkpoint of one file is that file, any other is a folder."""
    if path == checkpoint:
        return part
    within = PurePosixPath(path)
    there = part / (within if checkpoint == "." else within.relative_to(checkpoint))
    there.parent.mkdir(parents=True, exist_ok=True)
    return there


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def pull_outputs(rt: Runtime, run: Run, folder: Path) -> int:
    """Copy what the script left in RUNCTL_OUTPUT_DIR into ``folder``; how many files. Only of a run with a store.

    Raises:
        AgentError: ``checkpoint-torn`` when a file is not what the machine recorded.
    """
    reader = StoreReader(rt.store(run.store), run.id, run.attempt)
    listed = (reader.json("outputs.json", rt.cancel) or {}).get("files", [])
    for file in listed:
        there = folder.joinpath(*PurePosixPath(file["path"]).parts)
        if not there.resolve().is_relative_to(folder.resolve()):
            continue  # a machine names its files; it does not name ours
        with _part(there) as part:
            reader.store.fetch(f"{reader.prefix}/outputs/{file['path']}", part, cancel=rt.cancel)
            if _digest(part) != file["digest"]:
                raise known("checkpoint-torn", path=file["path"], where=run.store)
            os.replace(part, there)
    return len(listed)

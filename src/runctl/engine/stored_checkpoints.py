"""Which checkpoints of a bucket may go: recognised by their own headers, the best, the last and those linked to stay."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runctl.core.errors import RunctlError
from runctl.formats import newest_first, scan
from runctl.formats.base import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Store
    from runctl.formats.base import Checkpoint

_BEST: Final = re.compile(r"(?:^|[^a-z])best(?:[^a-z]|$)", re.IGNORECASE)
_LAST: Final = re.compile(r"(?:^|[^a-z])(?:last|latest|final)(?:[^a-z]|$)", re.IGNORECASE)
# A word for what a number counts, or for what the file is: a shard of a data set has neither, and the same format.
_TRAINING: Final = re.compile(
    r"(?:^|[^a-z])(?:global_?step|steps?|iter(?:ation)?s?|epochs?|ep|updates?|ckpt|chkpt|checkpoints?)(?![a-z])",
    re.IGNORECASE,
)
_POINTER_BYTES: Final = 1 << 20  # a larger object is no text that names a checkpoint
_TEXT: Final = re.compile(r"^[^.]+$|\.(?:txt|json|ya?ml|toml|md|link)$", re.IGNORECASE)
_WORD: Final = re.compile(r"""[^\s"',:;\[\]{}()=]+""")
_RUN: Final = re.compile(r"(?:^|.*/)runs/[^/]+/(?=.)")  # a run that runctl itself keeps


@dataclass(frozen=True)
class Judged:
    """A checkpoint, its keys, and why it stays; an empty ``stays`` lets it go. Size in bytes, seconds since the epoch."""

    path: str
    size: int
    modified: float
    step: int | None
    keys: tuple[str, ...]
    stays: str


def judge(
    store: Store,
    prefix: str,
    *,
    keep: int,
    older_than: float | None,
    now: float,
    cancel: CancelToken,
) -> list[Judged]:
    """Every complete checkpoint below ``prefix``, newest first in each folder, and whether it may go. Reads only.

    Args:
        store: where.
        prefix: ends with a slash, or is empty.
        keep: how many of the newest stay in each folder.
        older_than: only what is older, in seconds, may go.
        now: seconds since the epoch.
        cancel: ends it.
    """
    listing = store.list(prefix, cancel=cancel)
    files = [File(each.key[len(prefix) :], each.size, each.modified) for each in listing]
    own = {match[0] for file in files if (match := _RUN.match(file.path))}
    files = [file for file in files if not any(file.path.startswith(run) for run in own)]

    def read(path: str, offset: int, length: int) -> bytes:
        try:
            return store.get(prefix + path, start=offset, length=length, cancel=cancel)
        except RunctlError as error:
            if error.code == "store-missing":
                raise FileNotFoundError(path) from error
            raise

    checkpoints = scan(files, read).complete
    named = _named(files, checkpoints, lambda path: read(path, 0, _POINTER_BYTES))
    folders: dict[str, list[Checkpoint]] = {}
    for each in checkpoints:
        folders.setdefault(each.path.rpartition("/")[0], []).append(each)
    judged = []
    for _, group in sorted(folders.items()):
        sure = [each for each in group if _says_where_it_stood(each)]
        newest = {each.path for each in newest_first(sure)[:keep]}
        for each in newest_first(group):
            stays = _reason(each, newest, named, older_than=older_than, now=now)
            keys = tuple(prefix + path for path in each.files)
            judged.append(Judged(each.path, each.size, each.modified, each.step, keys, stays))
    return judged


def _reason(
    one: Checkpoint, newest: Iterable[str], named: Mapping[str, str], *, older_than: float | None, now: float
) -> str:
    name = one.path.rpartition("/")[2]
    reasons = (
        ("says no step or epoch: it may be data", not _says_where_it_stood(one)),
        ("among the newest", one.path in newest),
        ("called best", _BEST.search(name)),
        ("called last", _LAST.search(name)),
        (f"named by {named.get(one.path)}", one.path in named),
        ("not old enough", older_than is not None and now - one.modified <= older_than),
    )
    return next((reason for reason, holds in reasons if holds), "")


def _says_where_it_stood(one: Checkpoint) -> bool:
    """Whether it is a checkpoint by more than its format, which arrays and pickles of any kind have, too."""
    stated = one.contents.step is not None or one.contents.epoch is not None
    return stated or _TRAINING.search("/".join(one.path.split("/")[-2:])) is not None


def _named(
    files: Sequence[File], checkpoints: Sequence[Checkpoint], read: Callable[[str], bytes]
) -> dict[str, str]:
    """Which checkpoints a small text above or beside them names: ``latest``, an index, a Trainer's best one."""
    parts = {path for each in checkpoints for path in each.files}
    named: dict[str, str] = {}
    for file in files:
        trainers = file.name == "trainer_state.json"
        if (file.path in parts and not trainers) or file.size > _POINTER_BYTES or not _TEXT.search(file.name):
            continue
        scope = _parent(file.folder) if trainers else file.folder
        near = [each for each in checkpoints if not scope or each.path.startswith(f"{scope}/")]
        words = _words(read(file.path), best_only=trainers) if near else set()
        for each in near:
            if not words.isdisjoint(_names(each.path)) and file.path not in each.files:
                named.setdefault(each.path, file.path)
    return named


def _names(path: str) -> tuple[str, str]:
    """What a text may call a checkpoint: its name, with or without its suffix."""
    name = path.rpartition("/")[2]
    return name, name.rpartition(".")[0] or name


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _words(data: bytes, *, best_only: bool) -> set[str]:
    """The last components of all that looks like a path; of a Trainer's state only its best one."""
    text = data.decode("utf-8", "replace")
    if best_only:
        try:
            text = str(json.loads(text).get("best_model_checkpoint"))
        except (ValueError, AttributeError):
            return set()
    return {word.rstrip("/").rpartition("/")[2] for word in _WORD.findall(text)}

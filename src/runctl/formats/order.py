"""Which checkpoint is newer: by where the training stood, not by how the name sorts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence, Tuple, TypeVar

if TYPE_CHECKING:
    from runctl.formats.base import Checkpoint

MOST = 10**15  # a larger number in a name or a header is a time or a hash, not a step

_STEP_WORDS = "step|steps|global_step|iter|iters|iteration|it|batch|update|updates"
_EPOCH_WORDS = "epoch|epochs|ep"
_OTHER_WORDS = "ckpt|checkpoint|chkpt|model|weights|save|state|snapshot"
# A number belongs to the word before it: `epoch_10`, `epoch=10`, `step-1000`, `global_step500`.
_NUMBER = r"(?:^|[^a-z]){words}[\s=._-]{{0,3}}(\d{{1,15}})(?![\da-z]|\.\d)"
_STEP = re.compile(_NUMBER.format(words=f"(?:{_STEP_WORDS})"))
_EPOCH = re.compile(_NUMBER.format(words=f"(?:{_EPOCH_WORDS})"))
_OTHER = re.compile(_NUMBER.format(words=f"(?:{_OTHER_WORDS})"))
_LAST = re.compile(r"(?:^|[_-])(\d{1,15})$")  # `digits-0042`
_SHARD = re.compile(r"[_.-]?\d+-of-\d+")
_DATE = re.compile(r"\d{4}[-_.]?\d{2}[-_.]?\d{2}(?:[t_.-]?\d{2}[-_:.]?\d{2}(?:[-_:.]?\d{2})?)?(?!\d)")
_SUFFIXES = re.compile(r"(\.(pth|pt|tar|ckpt|bin|safetensors|npz|pkl|pickle|joblib|index|json))+$")


def position_from_name(path: str) -> Tuple[Optional[int], Optional[int]]:
    """``(step, epoch)`` as the name tells, or the name of its folder where the file's own has no number.

    ``checkpoint_epoch_10.pt`` is epoch 10, ``step-1000/model.pt`` is step 1000; a number with no word for what it
    counts (``ckpt-00010``, ``digits-7``) is a step. Dates, shard numbers and decimals are no positions.
    """
    for part in reversed(path.split("/")[-2:]):
        name = _DATE.sub("", _SHARD.sub("", _SUFFIXES.sub("", part.lower())))
        step, epoch = _first(_STEP, name), _first(_EPOCH, name)
        if step is None and epoch is None:
            step = _first(_OTHER, name)
        if step is None and epoch is None:
            step = _first(_LAST, name)
        if step is not None or epoch is not None:
            return step, epoch
    return None, None


def _first(pattern: re.Pattern[str], name: str) -> Optional[int]:
    found = pattern.search(name)
    return int(found.group(1)) if found else None


_STEP_KEYS = ("global_step", "step", "steps", "iteration", "iter", "global_iteration", "num_steps")
_EPOCH_KEYS = ("epoch", "epochs", "current_epoch")


def position_from_values(values: Mapping[Any, Any]) -> Tuple[Optional[int], Optional[int]]:
    """``(step, epoch)`` as a header's own values tell; numbers written as text count (safetensors has only text)."""
    return _value(values, _STEP_KEYS), _value(values, _EPOCH_KEYS)


def _value(values: Mapping[Any, Any], keys: Sequence[str]) -> Optional[int]:
    for key in keys:
        value = values.get(key)
        if isinstance(value, str) and re.match(r"\d{1,15}$", value):
            value = int(value)
        if isinstance(value, float) and 0 <= value <= MOST and value == int(value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST:
            return value
    return None


def age(step: Optional[int], epoch: Optional[int], modified: float, path: str) -> Tuple[int, int, float, str]:
    """The one sort key, oldest first: by step, then by epoch, then by time, then by path.

    What does not know its step comes before all that do: a position is worth more than a time, because copying a
    file changes its time. A resumed run that goes back writes lower steps again; they stay older, as they are.
    """
    return (-1 if step is None else step, -1 if epoch is None else epoch, modified, path)


C = TypeVar("C", bound="Checkpoint")


def newest_first(checkpoints: Sequence[C]) -> List[C]:
    """``checkpoints``, the newest first, as ``age`` defines it."""
    return sorted(checkpoints, key=lambda c: age(c.step, c.epoch, c.modified, c.path), reverse=True)

"""Recognises checkpoints by their headers. Travels with the agent: standard library only, Python 3.8 and later.

``ALL`` are the formats in the order they are asked: folders first, because a folder claims the files it is made of.
``scan`` asks them all; ``newest_first`` is the one order. A new format is one file here and one line in ``ALL``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence, Tuple

from runctl.formats.base import Found
from runctl.formats.distributed import Distributed
from runctl.formats.numpy import Npz
from runctl.formats.order import newest_first
from runctl.formats.pickles import Pickle
from runctl.formats.safetensors import Safetensors
from runctl.formats.sharded import Sharded
from runctl.formats.torch import Torch
from runctl.formats.trainer import TrainerFolder

if TYPE_CHECKING:
    from runctl.formats.base import File, Format, Read

_PARTS: Tuple[Format, ...] = (Distributed(), Sharded(), Torch(), Safetensors(), Npz(), Pickle())


def _ask(formats: Sequence[Format], listing: Sequence[File], read: Read, *, verify: bool) -> Found:
    whole = Found()
    for kind in formats:
        left = [file for file in listing if file.path not in whole.claimed]
        found = kind.find(left, read, verify=verify)
        whole.complete.extend(found.complete)
        whole.incomplete.extend(found.incomplete)
        whole.claimed |= found.claimed
    return whole


ALL: Tuple[Format, ...] = (
    TrainerFolder(lambda listing, read, verify: _ask(_PARTS, listing, read, verify=verify)),
    *_PARTS,
)


def scan(listing: Sequence[File], read: Read, *, verify: bool = False) -> Found:
    """Every checkpoint in ``listing``, complete ones newest first, and the incomplete ones with their reasons.

    Pure over its arguments (see ``Format.find``); safe to repeat. Costs a few small reads per checkpoint, or all of
    its bytes with ``verify``.
    """
    found = _ask(ALL, listing, read, verify=verify)
    found.complete = newest_first(found.complete)
    found.incomplete.sort(key=lambda item: item.path)
    return found


__all__ = ["ALL", "newest_first", "scan"]

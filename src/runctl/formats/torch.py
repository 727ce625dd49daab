"""Files of ``torch.save``: a zip archive of a pickle (the structure) and one stored entry per storage (the numbers).

The pickle is read by ``pickled`` and never run. Files of torch before 1.6 (or saved with
``_use_new_zipfile_serialization=False``) are recognised and reported as what cannot be verified.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, Optional, Tuple

from runctl.formats.base import UNVERIFIABLE, Contents, FileFormat, Rejected, Tensor, Window
from runctl.formats.order import position_from_values
from runctl.formats.pickled import Call, Name, Reader, Reference, Stream
from runctl.formats.zipped import MAGIC, Archive

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number torch itself looks for
_WEIGHTS = re.compile(
    r"(pytorch_|adapter_|diffusion_pytorch_)?model|optimizer"
)  # a `.bin` that must be torch's
PLACES = (
    "trainer",
    "trainer_state",
    "training_state",
    "train_state",
    "progress",
    "meta",
    "metadata",
    "state",
)
_SIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "LongStorage": "int64",
    "BFloat16Storage": "bfloat16", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}  # fmt: skip


class Torch(FileFormat):
    """``*.pt``, ``*.pth``, ``*.pth.tar``, ``*.ckpt``, ``*.bin``: whole when the archive is, and holds each storage."""

    name = "torch"
    suffixes = (".pt", ".pth", ".pth.tar", ".pt.tar", ".ckpt", ".bin")

    def inspect(self, window: Window, *, verify: bool) -> Optional[Contents]:
        """See ``read_archive``. A ``.bin`` of other origin is none of ours. Raises ``Rejected``."""
        head = window.at(0, min(len(LEGACY), window.size))
        if head == LEGACY:
            raise Rejected(
                "legacy torch format, cannot be verified: load it and save it again with torch 1.6 or later",
                kind=UNVERIFIABLE,
            )
        if head[: len(MAGIC)] != MAGIC[: len(head)]:
            name = window.path.lower().rpartition("/")[2]
            if name.endswith(".bin") and not _WEIGHTS.match(name):
                return None
            raise Rejected("does not start like a torch file")
        return read_archive(window, verify=verify)


def read_archive(window: Window, *, verify: bool) -> Contents:
    """What an archive of ``torch.save`` says, once it is known to be whole. Raises ``Rejected``.

    Whole means: the zip structure is (see ``zipped``), the entries torch needs are there, and every storage that the
    pickle refers to is there with the size its type and count need. ``verify`` adds the checksum of each entry.
    """
    archive = Archive(window)
    roots = [name[: -len("data.pkl")] for name in archive.entries if name.endswith("/data.pkl")]
    if len(roots) != 1 or f"{roots[0]}version" not in archive.entries:
        raise Rejected("is a zip archive, but not one of torch.save (data.pkl or version is missing)")
    if verify:
        archive.verify()
    reader = Reader(Stream(archive.part(f"{roots[0]}data.pkl")))
    try:
        value = reader.read()
    except Rejected as error:
        if error.kind == UNVERIFIABLE:  # too large to look into; its structure is whole all the same
            return Contents()
        raise
    _check_storages(archive, roots[0], reader.references)
    step, epoch = position(value)
    return Contents(tensors=list(_tensors(value)), step=step, epoch=epoch, metadata=_scalars(value))


def _check_storages(archive: Archive, root: str, references: List[Reference]) -> None:
    for reference in references:
        identity = reference.id
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            continue  # an object saved by a pickler of the user's own
        name = f"{root}data/{identity[2]}"
        entry = archive.entries.get(name)
        if entry is None:
            raise Rejected(f"storage {name} is missing")
        size = _SIZES.get(_dtype(identity[1]))
        count = identity[4]
        if size and isinstance(count, int) and entry.size != size * count:
            raise Rejected(f"storage {name} has {entry.size} bytes and needs {size * count}")


def _dtype(name: Any) -> str:
    short = name.full.rpartition(".")[2] if isinstance(name, Name) else "?"
    return _STORAGES.get(short, short)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor below ``value`` once, named by its path; in the order the file has them."""
    seen: Dict[int, Any] = {}
    waiting: List[Tuple[str, Any]] = [("", value)]
    while waiting:
        name, item = waiting.pop()
        if not isinstance(item, (dict, list, tuple, Call)) or id(item) in seen:
            continue
        seen[id(item)] = item
        tensor = _tensor(name, item)
        if tensor is not None:
            yield tensor
            continue
        children = [(f"{name}.{key}" if name else str(key), child) for key, child in _children(item)]
        waiting.extend(reversed(children))


def _children(item: Any) -> List[Tuple[Any, Any]]:
    if isinstance(item, dict):
        return list(item.items())
    if isinstance(item, (list, tuple)):
        return list(enumerate(item))
    held: List[Tuple[Any, Any]] = list(item.pairs)
    for part in (item.state, item.arguments, item.items):
        held.extend(_children(part) if isinstance(part, (dict, list, tuple)) else [])
    return held


def _tensor(name: str, item: Any) -> Optional[Tensor]:
    """The tensor that a call rebuilds; None for anything else. A parameter wraps a tensor: its turn comes next."""
    if not isinstance(item, Call):
        return None
    arguments = item.arguments
    if (
        item.full in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
        and len(arguments) >= 3
    ):
        storage, shape = arguments[0], arguments[2]
        if isinstance(storage, Reference) and isinstance(storage.id, tuple) and len(storage.id) > 1:
            return Tensor(name, _dtype(storage.id[1]), _shape(shape))
    if item.full == "torch._utils._rebuild_tensor_v3" and len(arguments) >= 7:
        return Tensor(name, _dtype(arguments[6]), _shape(arguments[2]))
    if item.full.startswith("torch._utils._rebuild_parameter") and arguments:
        return _tensor(name, arguments[0])
    return None


def _shape(value: Any) -> Tuple[int, ...]:
    if isinstance(value, Call) and value.arguments:  # torch.Size((3, 4))
        value = value.arguments[0]
    return tuple(n for n in value if isinstance(n, int)) if isinstance(value, (tuple, list)) else ()


def position(value: Any) -> Tuple[Optional[int], Optional[int]]:
    """``(step, epoch)`` of a saved dictionary, from its own keys or from those of the usual places below it."""
    if not isinstance(value, dict):
        return None, None
    step, epoch = position_from_values(value)
    for place in PLACES:
        below = value.get(place)
        if isinstance(below, dict):
            inner_step, inner_epoch = position_from_values(below)
            step = inner_step if step is None else step
            epoch = inner_epoch if epoch is None else epoch
    return step, epoch


def _scalars(value: Any) -> Dict[str, Any]:
    """The plain values at the top of a saved dictionary."""
    if not isinstance(value, dict):
        return {}
    return {str(key): item for key, item in value.items() if isinstance(item, (str, int, float, bool))}

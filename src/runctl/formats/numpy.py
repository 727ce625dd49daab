"""``numpy.savez`` archives: a zip of ``.npy`` entries, each with a short header of its own. No numpy needed."""

from __future__ import annotations

import ast
import re
import struct
from typing import Any, Dict, List, Optional, Tuple

from runctl.formats.base import Contents, FileFormat, Rejected, Tensor, Window
from runctl.formats.order import position_from_values
from runctl.formats.zipped import Archive

MAX_HEADER = 64 << 10  # bytes; a structured type may be long, but not this long
_KINDS = {
    "f": "float",
    "i": "int",
    "u": "uint",
    "c": "complex",
    "b": "bool",
    "U": "str",
    "S": "bytes",
    "O": "object",
}
_SCALARS = {
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f4": "f",
    "f8": "d",
}


class Npz(FileFormat):
    """``*.npz``: whole when the archive is and each array has the bytes its header states; CRCs with ``verify``."""

    name = "npz"
    suffixes = (".npz",)

    def inspect(self, window: Window, *, verify: bool) -> Optional[Contents]:
        """The arrays; step and epoch are arrays of that name with one number. Raises ``Rejected``."""
        archive = Archive(window)
        if verify:
            archive.verify()
        tensors: List[Tensor] = []
        values: Dict[str, Any] = {}
        for name, entry in archive.entries.items():
            if not name.endswith(".npy"):
                continue
            head = archive.head(name, MAX_HEADER)
            description, shape, start = read_header(head, name)
            tensor = Tensor(name[: -len(".npy")], dtype_name(description), shape)
            each = item_size(description)
            if each and entry.size != start + each * tensor.elements:
                raise Rejected(
                    f"array {tensor.name} has {entry.size} bytes and needs {start + each * tensor.elements}"
                )
            tensors.append(tensor)
            if tensor.elements == 1:
                values.update(_scalar(tensor.name, description, head[start:]))
        if not tensors:
            raise Rejected("is a zip archive without an array")
        step, epoch = position_from_values(values)
        return Contents(tensors=tensors, step=step, epoch=epoch, metadata=values)


def read_header(head: bytes, name: str) -> Tuple[str, Tuple[int, ...], int]:
    """``(type description, shape, where the data starts)`` of a ``.npy``. Raises ``Rejected``."""
    if head[:6] != b"\x93NUMPY" or len(head) < 12:
        raise Rejected(f"entry {name} is not an array")
    wide = head[6] > 1
    length = struct.unpack_from("<I" if wide else "<H", head, 8)[0]
    start = (12 if wide else 10) + length
    if start > len(head):
        raise Rejected(f"entry {name} states a header of {length} bytes")
    try:
        header = ast.literal_eval(head[start - length : start].decode("latin-1").strip())
        description, shape = header["descr"], tuple(header["shape"])
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise Rejected(f"entry {name} has an unreadable header") from error
    if not all(type(number) is int and number >= 0 for number in shape):
        raise Rejected(f"entry {name} has a shape that is no shape")
    return description if isinstance(description, str) else "structured", shape, start


def dtype_name(description: str) -> str:
    """``<f4`` as ``float32``; what is not a plain type stays as it is."""
    found = re.match(r"[<>|=]?([fiucbUSO])(\d*)$", description)
    if not found:
        return description
    kind, size = found.groups()
    if kind in "fiuc":
        return f"{_KINDS[kind]}{8 * int(size or 0)}"
    return _KINDS[kind]


def item_size(description: str) -> int:
    """Bytes of one element; 0 where the description does not tell (objects, structured types)."""
    found = re.match(r"[<>|=]?([fiucbUSmMV])(\d*)", description)
    if not found:
        return 0
    kind, size = found.groups()
    return int(size or 1) * (4 if kind == "U" else 1)


def _scalar(name: str, description: str, data: bytes) -> Dict[str, Any]:
    form = _SCALARS.get(description.lstrip("<>|="))
    if form is None:
        return {}
    order = ">" if description.startswith(">") else "<"
    return {name: struct.unpack_from(order + form, data)[0]}

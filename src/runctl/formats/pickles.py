"""Pickle and joblib files, as scikit-learn users save them. Followed opcode by opcode, never unpickled.

A pickle has no length field and no checksum. What can be known is that it runs to its STOP opcode exactly at the end
of the file: a file cut anywhere never does. joblib puts the bytes of each array into the middle of the pickle; their
sizes are computed from type and shape and stepped over. A compressed file tells nothing until all of it is
decompressed, so it is reported as what cannot be verified (save with ``compress=0``, or as ``.npz``).
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from runctl.formats.base import UNVERIFIABLE, Contents, FileFormat, Rejected, Tensor, Window
from runctl.formats.numpy import dtype_name, item_size
from runctl.formats.pickled import Call, Name, Reader, Stream
from runctl.formats.torch import position

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x5d\x00\x00", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd")
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


class Pickle(FileFormat):
    """``*.pkl``, ``*.pickle``, ``*.joblib``: whole when its STOP is its last byte. ``verify`` has nothing to add."""

    name = "pickle"
    suffixes = (".pkl", ".pickle", ".joblib")

    def inspect(self, window: Window, *, verify: bool) -> Optional[Contents]:  # noqa: ARG002 - see the class
        """The arrays of joblib, and step and epoch of a saved dictionary. Raises ``Rejected``."""
        if not window.size:
            raise Rejected("is empty")
        head = window.at(0, min(6, window.size))
        if head.startswith(_COMPRESSED + _ZLIB):
            raise Rejected(
                "is compressed, cannot be verified: save it with compress=0, or as .npz", kind=UNVERIFIABLE
            )
        arrays: List[Tensor] = []
        stream = Stream(window)
        reader = Reader(stream, on_build=lambda value, at: _step_over(value, at, arrays))
        value = reader.read()
        if stream.position != window.size:
            raise Rejected(f"its pickle ends at {stream.position} bytes, but there are {window.size}")
        step, epoch = position(value)
        scalars = value if isinstance(value, dict) else {}
        return Contents(
            tensors=arrays or None,
            step=step,
            epoch=epoch,
            metadata={str(k): v for k, v in scalars.items() if isinstance(v, (str, int, float, bool))},
        )


def _step_over(value: Any, stream: Stream, arrays: List[Tensor]) -> None:
    """Move past the bytes of an array that joblib wrote behind its description."""
    if not isinstance(value, Call) or not value.full.endswith("numpy_pickle.NumpyArrayWrapper"):
        return
    state = value.state if isinstance(value.state, dict) else {}
    description, shape = _type(state.get("dtype")), _shape(state.get("shape"))
    if description == "O":  # an array of objects is a pickle of its own, right here
        arrays.append(Tensor("", "object", shape))
        Reader(stream).read()
        return
    each = item_size(description)
    if not each:
        raise Rejected(f"has an array of type {description}, whose size is not known", kind=UNVERIFIABLE)
    if state.get("numpy_array_alignment_bytes") is not None:
        stream.skip(stream.take(1)[0])
    tensor = Tensor("", dtype_name(description), shape)
    stream.skip(each * tensor.elements)
    arrays.append(tensor)


def _type(value: Any) -> str:
    """``f8`` from the recorded call ``numpy.dtype("f8", False, True)``."""
    if isinstance(value, Call) and value.full == "numpy.dtype" and value.arguments:
        first = value.arguments[0]
        if isinstance(first, str):
            return "O" if first.startswith("O") else first
        if isinstance(first, Name):
            return first.full
    return "?"


def _shape(value: Any) -> Tuple[int, ...]:
    if not isinstance(value, tuple) or not all(type(number) is int and number >= 0 for number in value):
        raise Rejected("has an array with a shape that is no shape")
    return value

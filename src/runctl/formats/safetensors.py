"""safetensors: eight bytes of length, a JSON header of that length, and the tensors without a gap to the end."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Tuple

from runctl.formats.base import Contents, FileFormat, Rejected, Tensor, Window
from runctl.formats.order import position_from_values

MAX_HEADER = 100_000_000  # bytes; the limit of the format's own reader

# bits per element, and the name people use
_DTYPES: Dict[str, Tuple[int, str]] = {
    "BOOL": (8, "bool"), "U8": (8, "uint8"), "I8": (8, "int8"), "F8_E5M2": (8, "float8_e5m2"),
    "F8_E4M3": (8, "float8_e4m3fn"), "F8_E8M0": (8, "float8_e8m0fnu"), "F8_E5M2FNUZ": (8, "float8_e5m2fnuz"),
    "F8_E4M3FNUZ": (8, "float8_e4m3fnuz"), "F4": (4, "float4"), "F6_E2M3": (6, "float6_e2m3"),
    "F6_E3M2": (6, "float6_e3m2"), "I16": (16, "int16"), "U16": (16, "uint16"), "F16": (16, "float16"),
    "BF16": (16, "bfloat16"), "I32": (32, "int32"), "U32": (32, "uint32"), "F32": (32, "float32"),
    "F64": (64, "float64"), "I64": (64, "int64"), "U64": (64, "uint64"), "C64": (64, "complex64"),
}  # fmt: skip


class Safetensors(FileFormat):
    """``*.safetensors``. Its header fixes the size of the file to the byte, so ``verify`` has nothing to add."""

    name = "safetensors"
    suffixes = (".safetensors",)

    def inspect(self, window: Window, *, verify: bool) -> Optional[Contents]:  # noqa: ARG002 - see the class
        """The header's tensors and metadata. Raises ``Rejected`` unless they fill the file exactly."""
        if window.size < 8:
            raise Rejected("is too short for a safetensors file" if window.size else "is empty")
        length = int.from_bytes(window.at(0, 8), "little")
        if length > min(window.size - 8, MAX_HEADER):
            raise Rejected(f"states a header of {length} bytes, but there are {window.size} in all")
        header = parse_object(window.at(8, length))
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise Rejected("its metadata is not an object")
        tensors, end = _tensors(header)
        if 8 + length + end != window.size:
            raise Rejected(f"its tensors end at {8 + length + end} bytes, but there are {window.size}")
        step, epoch = position_from_values(metadata)
        return Contents(tensors=tensors, step=step, epoch=epoch, metadata=metadata)


def parse_object(data: bytes) -> Dict[str, Any]:
    """A JSON object, no key twice. Raises ``Rejected`` for anything else, whatever its depth."""

    def once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            raise Rejected("names a key twice")
        return values

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise Rejected("is not readable JSON") from error
    if not isinstance(value, dict):
        raise Rejected("is not a JSON object")
    return value


def _tensors(header: Dict[str, Any]) -> Tuple[List[Tensor], int]:
    """The tensors in the order they lie, and where the last one ends, counted from the end of the header."""
    placed = []
    for name, value in header.items():
        try:
            bits, dtype = _DTYPES[value["dtype"]]
            shape = tuple(value["shape"])
            begin, end = value["data_offsets"]
        except (KeyError, TypeError, ValueError) as error:
            raise Rejected(f"tensor {name} is described in an unknown way") from error
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise Rejected(f"tensor {name} has a shape or a place that is no number")
        tensor = Tensor(name, dtype, shape)
        if (end - begin) * 8 != tensor.elements * bits:
            raise Rejected(f"tensor {name} has {end - begin} bytes, which is not what its shape needs")
        placed.append((begin, end, tensor))
    at = 0
    placed.sort(key=lambda place: place[:2])
    for begin, end, tensor in placed:
        if begin != at:
            raise Rejected(f"tensor {tensor.name} does not follow the one before it")
        at = end
    return [tensor for _, _, tensor in placed], at

"""Reads a pickle without running it: opcodes in, inert values out.

A pickle is a program. This reader executes none of it: a class is only its name (``Name``), a call is only a record
of the call (``Call``), nothing is imported. ``pickletools`` knows how long each opcode is and decodes its argument.
Work is bounded: opcodes are counted, and a string or bytes longer than ``KEPT`` is skipped over, not read.
"""

from __future__ import annotations

import io
import pickletools
import struct
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from runctl.formats.base import UNVERIFIABLE, Rejected

if TYPE_CHECKING:
    from runctl.formats.base import Window

MAX_OPCODES = 2_000_000  # about four seconds of this reader; a large torch header has some 100,000
KEPT = 64 << 10  # bytes of one argument that are kept; longer ones become ``Skipped``
_BUFFER = 256 << 10


_OPCODES = {info.code: info for info in pickletools.opcodes}


class Name:
    """A class or function a pickle refers to, as ``module.name``. Nothing is imported."""

    __slots__ = ("full",)

    def __init__(self, full: str) -> None:
        self.full = full


class Skipped:
    """A string or bytes too long to keep."""

    __slots__ = ()


class Call:
    """What a pickle would have called, with its arguments, and the state it would have set afterwards."""

    __slots__ = ("arguments", "full", "items", "pairs", "state")

    def __init__(self, full: str, arguments: Any) -> None:
        self.full = full
        self.arguments = arguments if isinstance(arguments, tuple) else ()
        self.state: Any = None
        self.items: List[Any] = []
        self.pairs: List[Tuple[Any, Any]] = []


class Reference:
    """A persistent id: what torch puts in place of a storage."""

    __slots__ = ("id",)

    def __init__(self, identity: Any) -> None:
        self.id = identity


class Stream:
    """A position in a window, buffered, so that a pickle of a hundred thousand opcodes is not as many reads."""

    def __init__(self, window: Window, offset: int = 0) -> None:
        self._window = window
        self._buffer = b""
        self._start = offset
        self.position = offset

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes. Raises ``Rejected`` when there are fewer."""
        at = self.position - self._start
        if at < 0 or at + length > len(self._buffer):
            left = self._window.size - self.position
            if length > left:
                raise Rejected("ends in the middle of its pickle")
            self._buffer = self._window.at(self.position, min(max(length, _BUFFER), left))
            self._start = self.position
            at = 0
        self.position += length
        return self._buffer[at : at + length]

    def skip(self, length: int) -> None:
        """Move on without reading. Raises ``Rejected`` at the end of the window."""
        if length > self._window.size - self.position:
            raise Rejected("ends in the middle of its pickle")
        self.position += length

    def line(self) -> bytes:
        """Up to and with the next newline, at most ``KEPT`` bytes."""
        taken = bytearray()
        while not taken.endswith(b"\n"):
            if len(taken) > KEPT:
                raise Rejected("has a line without an end in its pickle")
            taken += self.take(1)
        return bytes(taken)


_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: "<B",
    pickletools.TAKEN_FROM_ARGUMENT4: "<i",
    pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
    pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
}


def _argument(opcode: pickletools.OpcodeInfo, stream: Stream) -> Any:
    descriptor = opcode.arg
    if descriptor is None:
        return None
    if descriptor.n >= 0:
        raw = stream.take(descriptor.n)
    elif descriptor.n == pickletools.UP_TO_NEWLINE:
        raw = stream.line() + (stream.line() if opcode.name in ("GLOBAL", "INST") else b"")
    else:
        form = _LENGTHS[descriptor.n]
        prefix = stream.take(struct.calcsize(form))
        length = struct.unpack(form, prefix)[0]
        if length < 0:
            raise Rejected("has a negative length in its pickle")
        if length > KEPT:
            stream.skip(length)
            return Skipped()
        raw = prefix + stream.take(length)
    try:
        return descriptor.reader(io.BytesIO(raw))
    except ValueError as error:
        raise Rejected(f"has an argument that cannot be read in its pickle ({opcode.name})") from error


_MARK = object()
_CONSTANTS: Dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list, "NEXT_BUFFER": Skipped,
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset(("PROTO", "FRAME", "READONLY_BUFFER"))


class Reader:
    """Reads one pickle from ``stream`` to its STOP; ``value`` is what it stands for, in inert values.

    ``on_build`` is called with each object whose state was just set: joblib writes the bytes of an array right there,
    in the middle of the pickle, and only who knows that can step over them.
    """

    def __init__(self, stream: Stream, *, on_build: Optional[Callable[[Any, Stream], None]] = None) -> None:
        self.stream = stream
        self._on_build = on_build
        self._stack: List[Any] = []
        self._memo: Dict[int, Any] = {}
        self.calls: List[Call] = []
        self.references: List[Reference] = []
        stack = self._stack
        self._actions: Dict[str, Callable[[Any], Any]] = {
            "POP": lambda _: stack.pop(),
            "POP_MARK": lambda _: self._marked(),
            "DUP": lambda _: stack.append(stack[-1]),
            "TUPLE": lambda _: stack.append(tuple(self._marked())),
            "LIST": lambda _: stack.append(self._marked()),
            "FROZENSET": lambda _: stack.append(self._marked()),
            "DICT": lambda _: self._dict(),
            "APPEND": lambda _: self._extend([stack.pop()]),
            "APPENDS": lambda _: self._extend(self._marked()),
            "ADDITEMS": lambda _: self._extend(self._marked()),
            "SETITEM": lambda _: self._pair(),
            "SETITEMS": lambda _: self._set(self._marked()),
            "GLOBAL": lambda text: self._name(str(text).replace(" ", ".", 1)),
            "STACK_GLOBAL": lambda _: self._stacked_name(),
            "REDUCE": lambda _: self._called(),
            "NEWOBJ": lambda _: self._called(),
            "NEWOBJ_EX": lambda _: self._called(stack.pop()),
            "INST": lambda text: self._call(Name(str(text).replace(" ", ".", 1)), tuple(self._marked())),
            "OBJ": lambda _: self._object(),
            "BUILD": lambda _: self._build(),
            "PERSID": self._refer,
            "BINPERSID": lambda _: self._refer(stack.pop()),
        }

    def read(self) -> Any:
        """The value. Raises ``Rejected`` for bytes that are no pickle, end early, or ask for unbounded work."""
        for _ in range(MAX_OPCODES):
            code = self.stream.take(1)
            opcode = _OPCODES.get(code.decode("latin-1"))
            if opcode is None:
                raise Rejected(f"is not a pickle any more at byte {self.stream.position - 1}")
            argument = _argument(opcode, self.stream)
            try:
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, argument)
            except (IndexError, KeyError) as error:
                raise Rejected("contradicts itself in its pickle") from error
        raise Rejected(f"has a pickle of more than {MAX_OPCODES} steps", kind=UNVERIFIABLE)

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _NOTHING:
            return
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[len(stack) - count :])]
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in self._actions:
            self._actions[name](argument)
        else:
            stack.append(argument)  # every opcode left pushes its argument: numbers, strings, bytes

    def _marked(self) -> List[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def _name(self, full: str) -> None:
        self._stack.append(Name(full))

    def _call(self, target: Any, arguments: Any) -> None:
        if isinstance(target, Name) and target.full == "collections.OrderedDict":
            self._stack.append({})
            return
        call = Call(target.full if isinstance(target, Name) else "?", arguments)
        self.calls.append(call)
        self._stack.append(call)

    def _refer(self, identity: Any) -> None:
        self.references.append(Reference(identity))
        self._stack.append(self.references[-1])

    def _extend(self, values: List[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Call):
            target.items.extend(values)

    def _set(self, values: List[Any]) -> None:
        target = self._stack[-1]
        for key, value in zip(values[::2], values[1::2]):
            if isinstance(target, dict) and isinstance(key, (str, int, float, bool)):
                target[key] = value
            elif isinstance(target, Call):
                target.pairs.append((key, value))

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Call):
            target.state = state
        if self._on_build is not None:
            self._on_build(target, self.stream)

    def _object(self) -> None:
        values = self._marked()
        self._call(values[0], tuple(values[1:]))

    def _pair(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _dict(self) -> None:
        values = self._marked()
        self._stack.append({})
        self._set(values)

    def _called(self, _keywords: Any = None) -> None:
        arguments = self._stack.pop()
        self._call(self._stack.pop(), arguments)

    def _stacked_name(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._name(f"{module}.{name}")

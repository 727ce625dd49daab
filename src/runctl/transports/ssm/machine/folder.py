"""The files by which the programs that run, feed and ask after one command know of each other."""

from __future__ import annotations

import os


def mark(folder: str, name: str, content: bytes) -> None:
    """Write a file of the folder, whole or not at all; one that is gone has nothing to be told."""
    path = os.path.join(folder, name)
    try:
        with open(path + ".new", "wb") as file:
            file.write(content)
        os.replace(path + ".new", path)
    except OSError:
        pass


def told(folder: str, name: str) -> bytes | None:
    """What a file of the folder says; None when it is not there."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError:
        return None


def size(folder: str, name: str) -> int:
    """How long a file of the folder is."""
    try:
        return os.stat(os.path.join(folder, name)).st_size
    except OSError:
        return 0


def part(folder: str, name: str, start: int, length: int) -> bytes:
    """A stretch of a file."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            file.seek(start)
            return file.read(length)
    except OSError:
        return b""

"""The little XML that S3 speaks: written from nested dicts, read into an element tree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Union
from xml.etree import ElementTree as ET

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_ESCAPED = re.compile('[\x00-\x08\x0b-\x1f&<>"]')

Value = Union[  # noqa: UP007 - a type that names itself cannot be written with | at run time
    str, int, bool, None, Mapping[str, "Value"], Sequence["Value"]
]


class BadDocument(ValueError):
    """Not XML, or XML that declares entities."""


def escape(text: str) -> str:
    """Text for an element. Control characters become references, as S3 writes them in listings."""
    return _ESCAPED.sub(lambda found: f"&#{ord(found.group())};", text)


def element(name: str, value: Value, *, namespace: bool = False) -> str:
    """One element. A mapping nests, a sequence repeats the element, None leaves it out, a bool is true/false."""
    if value is None:
        return ""
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, (str, int)):
        return f"<{name}>{escape(str(value))}</{name}>"
    if isinstance(value, Mapping):
        space = f' xmlns="{NAMESPACE}"' if namespace else ""
        inner = "".join(element(key, item) for key, item in value.items())
        return f"<{name}{space}>{inner}</{name}>"
    return "".join(element(name, item) for item in value)


def parse(data: bytes) -> ET.Element:
    """The root of a document, its namespaces removed from every tag. Raises BadDocument."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # entities can expand without bound
        raise BadDocument("a document type is not accepted")
    try:
        root = ET.fromstring(data)  # noqa: S314 - entities were refused above
    except ET.ParseError as error:
        raise BadDocument(str(error)) from error
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
    return root


def text_of(node: ET.Element, path: str, default: str = "") -> str:
    """The text of a child; `default` when it is absent."""
    found = node.find(path)
    return default if found is None else (found.text or "")

"""Where the user's own files and objects are: a path here, or an address of a store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from runctl.engine.mirror_items import Item, Side

if TYPE_CHECKING:
    from runctl.api.runtime import Runtime
    from runctl.core.ports import Store


class There(NamedTuple):
    """An address taken apart: the store, and the key or prefix in it."""

    store: Store
    key: str
    text: str

    @property
    def prefix(self) -> str:
        """The key as a folder: empty, or with a slash at its end."""
        return f"{self.key.rstrip('/')}/" if self.key.strip("/") else ""

    def key_of(self, name: str) -> str:
        """The key of what is called ``name`` in that folder."""
        return self.prefix + name


def is_address(text: str) -> bool:
    """Whether it names a place in a store, and not a path here. Pure."""
    return text.startswith(("s3://", "file://"))


def there(rt: Runtime, url: str, *, read_only: bool = False) -> There:
    """The store and key of an address. Opens no connection. Raises ``store-url``."""
    parts = urlsplit(url, allow_fragments=False)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "file":
        whole = unquote(path)
        folder, _, name = (whole, "", "") if os.path.isdir(whole) else whole.rstrip("/").rpartition("/")
        ending = "/" if name and whole.endswith("/") else ""
        return There(rt.store("file://" + quote(folder or "/"), read_only=read_only), name + ending, url)
    key = path.removeprefix("/")
    return There(rt.store(f"{parts.scheme}://{parts.netloc}", read_only=read_only), key, url)


def one(rt: Runtime, store: Store, key: str, *, name: str = "") -> Item | None:
    """The object of exactly that key, called ``name`` here; None when there is none."""
    found = next(iter(store.list(key, cancel=rt.cancel)), None) if key else None
    if found is None or found.key != key:
        return None
    return Item(name, found.size, found.modified, found.etag)


def alone(item: Item | None) -> Side:
    """A side with one item, or none."""
    return Side({item.name: item} if item else {})

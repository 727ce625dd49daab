"""The store as a machine sees it: named objects in S3 or in a folder, behind one small interface."""

from __future__ import annotations

import os

from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol

    from runctl.s3.patience import Patience
    from runctl.s3.stored import Stored

    Told = Callable[[int], Any]

    class Store(Protocol):
        """What both can. Keys are relative; everything may be repeated, and used from several threads."""

        url: str
        patience: Patience

        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            """The object's bytes from ``start`` on, at most ``length``. Raises ``store-missing``."""

        def get_file(
            self, key: str, path: str, *, size: int | None = None, digest: str = "", told: Told = ...
        ) -> None:
            """Write the object to ``path``, whole and as expected or not at all. Raises ``store-corrupt``."""

        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
            """Write an object whole; false when ``if_absent`` and it was there."""

        def put_file(self, key: str, path: str, *, told: Told = ...) -> tuple[int, str]:
            """Write an object out of a file; size and SHA-256 of what was stored."""

        def size(self, key: str) -> int | None:
            """Bytes in the object; None when there is none."""

        def list(self, prefix: str = "", *, after: str = "") -> Iterator[Stored]:
            """The objects whose keys begin with ``prefix``, in the order of their keys, beginning behind ``after``."""

        def close(self) -> None:
            """Close what is open and idle. Safe to repeat."""


def open_store(
    access: Mapping[str, Any], *, patience: Patience | None = None, env: Mapping[str, str] = os.environ
) -> Store:
    """The store that a ``StoreAccess`` describes; nothing is asked of it yet.

    Args:
        access: ``{"kind": "s3", "bucket", "prefix", "region"}`` or ``{"kind": "directory", "path"}``.
        patience: how long each call goes on when the store does not answer, and who may stop it.
        env: where credentials and endpoints are looked up.

    Raises:
        AgentFailure: ``agent-request`` for any other access.
    """
    kind = access.get("kind")
    if kind == "s3":
        from runctl.agent.credentials import Credentials  # noqa: PLC0415 - what is not used is not compiled
        from runctl.s3.objects import Objects  # noqa: PLC0415

        return Objects(
            str(access["bucket"]),
            str(access.get("prefix") or ""),
            str(access.get("region") or ""),
            keyring=Credentials(env),
            patience=patience,
            env=env,
        )
    if kind == "directory":
        from runctl.agent.directory import Directory  # noqa: PLC0415 - as above

        return Directory(str(access["path"]), patience=patience)
    raise AgentFailure("agent-request", detail="no kind of store: %r" % (kind,))


def access_of(url: str) -> dict[str, Any]:
    """The ``StoreAccess`` of ``s3://bucket/prefix`` or ``file:///path``. Pure.

    Raises:
        AgentFailure: ``agent-request`` for any other address.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "s3" and rest.strip("/"):
        bucket, _, prefix = rest.partition("/")
        return {"kind": "s3", "bucket": bucket, "prefix": prefix, "region": ""}
    if scheme == "file" and rest.startswith("/"):
        return {"kind": "directory", "path": rest}
    raise AgentFailure("agent-request", detail="not the address of a store: %r" % url)

"""Everything one does with objects in S3: single requests, listings, and whole files."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import unquote_plus

from runctl.s3.checksum import crc32_of
from runctl.s3.client import S3, checked
from runctl.s3.failure import KnownFailure
from runctl.s3.moments import epoch, epoch_of_header
from runctl.s3.refusals import Refusal
from runctl.s3.stored import Stored

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, Optional

    from runctl.s3.client import Query

    Told = Callable[[int], Any]


class Objects(S3):
    """The objects below a prefix of a bucket."""

    def size(self, key: str) -> int | None:
        """The object's size in bytes; None when there is none."""
        found = self.find(key)
        return None if found is None else found.size

    def find(self, key: str) -> Stored | None:
        """What is known of the object; None when there is none."""

        def ask() -> Optional[Stored]:
            try:
                with self.send("HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"}) as answer:
                    headers = answer.headers
            except KnownFailure as error:
                if error.code == "store-missing":
                    return None
                raise
            modified = epoch_of_header(headers["last-modified"])
            whole = headers.get("x-amz-checksum-type") != "COMPOSITE"
            crc32 = headers.get("x-amz-checksum-crc32", "") if whole else ""
            return Stored(key, int(headers["content-length"]), modified, headers["etag"].strip('"'), crc32)

        return self.patience.persist(ask)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object whole; false when ``if_absent`` and it was there already (nothing is changed then)."""
        headers = {"x-amz-checksum-crc32": crc32_of(data)}
        if if_absent:
            headers["if-none-match"] = "*"
        digest = sha256(data).hexdigest()
        tried = 0

        def write() -> bool:
            nonlocal tried
            tried += 1
            try:
                with self.send(
                    "PUT", key, headers=headers, body=lambda: [data], size=len(data), digest=digest
                ):
                    return True
            except Refusal:
                # what is there may be ours: written by an attempt whose answer was lost
                return tried > 1 and self.get(key) == data

        return self.patience.persist(write)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Stored]:
        """The objects whose keys begin with ``prefix``, in the order of their keys, beginning behind ``after``."""
        for page in self.pages(prefix, after=after):
            yield from page

    def pages(self, prefix: str = "", *, after: str = "") -> Iterator[Sequence[Stored]]:
        """The same, as many as each answer holds."""
        from xml.etree.ElementTree import fromstring  # noqa: PLC0415 - only for listings

        query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", self.prefix + prefix)]
        if after:
            query.append(("start-after", self.prefix + after))
        token = ""
        while True:
            asked = [*query, ("continuation-token", token)] if token else query
            root = fromstring(self._page(asked))  # noqa: S314 - S3's own answer
            space = root.tag[: root.tag.index("}") + 1] if "}" in root.tag else ""
            yield [
                self._listed({child.tag[len(space) :]: child.text or "" for child in node})
                for node in root.iter(space + "Contents")
            ]
            token = root.findtext(space + "NextContinuationToken") or ""
            if root.findtext(space + "IsTruncated") != "true" or not token:
                return

    def _page(self, query: Query) -> bytes:
        def ask() -> bytes:
            with self.send("GET", None, query) as answer:
                return answer.whole()

        return self.patience.persist(ask)

    def _listed(self, fields: Mapping[str, str]) -> Stored:
        key = unquote_plus(fields["Key"], errors="surrogateescape")[len(self.prefix) :]
        return Stored(key, int(fields["Size"]), epoch(fields["LastModified"]), fields["ETag"].strip('"'))

    def get_file(
        self,
        key: str,
        path: str,
        *,
        size: int | None = None,
        digest: str = "",
        told: Told = lambda _count: None,
    ) -> None:
        """See ``download.download``."""
        from runctl.s3.download import download  # noqa: PLC0415 - what is not used is not compiled

        download(self, key, path, size=size, digest=digest, told=told)

    def put_file(
        self,
        key: str,
        path: str,
        *,
        told: Told = lambda _count: None,
        if_absent: bool = False,
        notes: str = "",
        whole: bool = True,
    ) -> tuple[int, str]:
        """See ``upload.upload``."""
        from runctl.s3.upload import upload  # noqa: PLC0415

        return upload(self, key, path, told, if_absent=if_absent, notes=notes, whole=whole)

    def give_up(self, key: str, notes: str) -> None:
        """See ``continuing.give_up``."""
        from runctl.s3.continuing import give_up  # noqa: PLC0415

        give_up(self, key, notes)

    def delete(self, keys: Sequence[str]) -> Sequence[tuple[str, str]]:
        """Remove at most 1,000 objects; what is not there is a success. Gives (key, why) of those that stay."""
        from xml.etree.ElementTree import Element, SubElement, fromstring, tostring  # noqa: PLC0415 - rarely

        root = Element("Delete")
        SubElement(root, "Quiet").text = "true"
        for key in keys:
            SubElement(SubElement(root, "Object"), "Key").text = self.prefix + checked(key)
        body = tostring(root)
        headers = {"x-amz-checksum-crc32": crc32_of(body), "content-type": "application/xml"}

        def ask() -> bytes:
            with self.send(
                "POST",
                None,
                [("delete", "")],
                headers=headers,
                body=lambda: [body],
                size=len(body),
                digest=sha256(body).hexdigest(),
            ) as answer:
                return answer.whole()

        said = fromstring(self.patience.persist(ask))  # noqa: S314 - S3's own answer
        space = said.tag[: said.tag.index("}") + 1] if "}" in said.tag else ""
        return [
            ((node.findtext(space + "Key") or "")[len(self.prefix) :], node.findtext(space + "Message") or "")
            for node in said.iter(space + "Error")
        ]

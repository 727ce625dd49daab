"""Buckets on disk and their index in memory.

    buckets/NAME/bucket.json          region, versioning, stored configurations
    buckets/NAME/objects/ab/SHA1.VER  one version of one object (see entry.py)
    buckets/NAME/parts/UPLOAD.N.SEQ   a part, of an upload in progress or of a finished object
    buckets/NAME/uploads/UPLOAD.json  an upload in progress
    tmp/                              what is being written; emptied at start

Everything here runs on the event loop's thread and does not wait, so what is checked and then done is atomic.
Nothing is fsynced: a killed process loses nothing, a machine that loses power may.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runctl.sandbox.s3.entry import Entry, NotAnEntry, Part, entry_from, footer, part_from, read_footer


@dataclass(slots=True)
class Upload:
    """A multipart upload in progress; `entry` is what the object will be."""

    id: str
    entry: Entry
    started: float
    algorithm: str = ""  # the checksum every part must carry; empty when none was asked for
    composite: bool = True
    parts: dict[int, Part] = field(default_factory=dict)


class Bucket:
    """One bucket. `versions` holds each key's versions, newest first; `keys` its keys, sorted."""

    def __init__(self, root: Path, name: str, *, region: str, created: float) -> None:
        self.root = root
        self.name = name
        self.region = region
        self.created = created
        self.versioning = ""  # "", "Enabled" or "Suspended"
        self.configs: dict[str, str] = {}
        self.versions: dict[str, list[Entry]] = {}
        self.keys: list[str] = []
        self.uploads: dict[str, Upload] = {}
        self.last_seq = 0

    # --- reading ----------------------------------------------------------------------------------------

    def current(self, key: str) -> Entry | None:
        """The current version of a key, None when there is none or it is a delete marker."""
        versions = self.versions.get(key)
        return None if not versions or versions[0].marker else versions[0]

    def version(self, key: str, version: str) -> Entry | None:
        """One version of a key, delete markers included."""
        for entry in self.versions.get(key, ()):
            if entry.version == version:
                return entry
        return None

    def path_of(self, entry: Entry) -> str:
        """The file of a version."""
        digest = hashlib.sha1(entry.key.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
        return f"{self.root}/objects/{digest[:2]}/{digest}.{entry.version}"

    def part_path(self, part: Part) -> str:
        """The file of a part."""
        return f"{self.root}/parts/{part.file}"

    def next_seq(self) -> int:
        """A number larger than any given before in this bucket, restarts included."""
        self.last_seq = max(self.last_seq + 1, time.time_ns())
        return self.last_seq

    # --- writing ----------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes bucket.json in one step."""
        value = {
            "region": self.region, "created": self.created,
            "versioning": self.versioning, "configs": self.configs,
        }  # fmt: skip
        write_atomically(self.root / "bucket.json", json.dumps(value).encode())

    def publish(self, entry: Entry, *, tmp: Path, staged: str = "", content: bytes = b"") -> None:
        """Makes a version the current one; its content is in the file `staged`, or it is `content`.

        Gives the entry its number and version id. What it replaces is deleted after the rename.
        """
        entry.seq = self.next_seq()
        entry.version = f"{entry.seq:016x}{uuid.uuid4().hex[:16]}" if self.versioning == "Enabled" else "null"
        path = staged or f"{tmp}/{uuid.uuid4().hex}"
        with open(path, "ab", buffering=0) as file:
            file.write(content + footer(entry))
        self.install(entry, path)

    def install(self, entry: Entry, path: str) -> None:
        """Renames a complete file to where the entry belongs and takes it into the index."""
        target = self.path_of(entry)
        try:
            os.rename(path, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(path, target)
        replaced = self.version(entry.key, entry.version)
        versions = self.versions.get(entry.key)
        if versions is None:
            bisect.insort(self.keys, entry.key)
            versions = self.versions[entry.key] = []
        elif replaced is not None:
            versions.remove(replaced)
            self._drop_parts(replaced, kept=entry)
        versions.insert(0, entry)
        versions.sort(key=lambda version: -version.seq)

    def retag(self, entry: Entry, tags: dict[str, str], staged: str) -> None:
        """Gives a version other tags; `staged` is a copy of its content."""
        entry.tags = tags
        with open(staged, "ab", buffering=0) as file:
            file.write(footer(entry))
        os.rename(staged, self.path_of(entry))

    def remove(self, entry: Entry) -> None:
        """Deletes one version for good; safe to repeat."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path_of(entry))
        self._drop_parts(entry)
        versions = self.versions.get(entry.key, [])
        if entry in versions:
            versions.remove(entry)
        if not versions and entry.key in self.versions:
            del self.versions[entry.key]
            del self.keys[bisect.bisect_left(self.keys, entry.key)]

    def _drop_parts(self, entry: Entry, kept: Entry | None = None) -> None:
        keep = {part.file for part in kept.parts} if kept else set()
        for part in entry.parts:
            if part.file not in keep:
                self.drop_part(part)

    def drop_part(self, part: Part) -> None:
        """Deletes a part's file; safe to repeat."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.part_path(part))

    def save_upload(self, upload: Upload) -> None:
        """Writes an upload's record in one step and takes it into the index."""
        value = asdict(upload)
        del value["parts"]  # each part's file says what it is
        write_atomically(self.root / "uploads" / f"{upload.id}.json", json.dumps(value).encode())
        self.uploads[upload.id] = upload

    def add_part(self, upload: Upload, part: Part, staged: str, *, content: bytes = b"") -> None:
        """Makes an uploaded part visible, in place of an earlier one of the same number.

        Its bytes are in the file `staged` (which is made if need be), or they are `content`.
        """
        part.seq = self.next_seq()
        part.upload = upload.id
        part.file = f"{upload.id}.{part.number}.{part.seq}"
        with open(staged, "ab", buffering=0) as file:
            file.write(content + footer(part))
        os.rename(staged, self.part_path(part))
        earlier = upload.parts.get(part.number)
        upload.parts[part.number] = part
        if earlier:
            self.drop_part(earlier)

    def end_upload(self, upload: Upload, *, keep: frozenset[str] = frozenset()) -> None:
        """Forgets an upload and deletes its parts but those in `keep`."""
        self.uploads.pop(upload.id, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.root / "uploads" / f"{upload.id}.json")
        for part in upload.parts.values():
            if part.file not in keep:
                self.drop_part(part)

    # --- start ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Reads the bucket's files into the index and deletes what a killed process left half done."""
        value = json.loads((self.root / "bucket.json").read_bytes())
        self.region, self.created = value["region"], value["created"]
        self.versioning, self.configs = value["versioning"], value["configs"]
        for folder in os.scandir(self.root / "objects"):
            for item in os.scandir(folder.path):
                self._load_entry(item.path)
        for versions in self.versions.values():
            versions.sort(key=lambda entry: -entry.seq)
        self.keys = sorted(self.versions)
        for item in os.scandir(self.root / "uploads"):
            if item.name.endswith(".json"):
                self._load_upload(Path(item.path))
        made = {
            entry.parts[0].upload for versions in self.versions.values() for entry in versions if entry.parts
        }
        for finished in made & set(self.uploads):  # completed, and killed before the record was deleted
            self.end_upload(self.uploads[finished])
        used = {p.file for versions in self.versions.values() for entry in versions for p in entry.parts}
        for item in os.scandir(self.root / "parts"):
            if item.name not in used:
                self._load_part(item.path)

    def _load_entry(self, path: str) -> None:
        try:
            entry = entry_from(read_footer(path)[0])
        except NotAnEntry:
            os.unlink(path)
            return
        self.versions.setdefault(entry.key, []).append(entry)
        self.last_seq = max(self.last_seq, entry.seq)

    def _load_upload(self, path: Path) -> None:
        value: dict[str, Any] = json.loads(path.read_bytes())
        value["entry"] = entry_from(value["entry"])
        self.uploads[value["id"]] = Upload(**value)

    def _load_part(self, path: str) -> None:
        try:
            part = part_from(read_footer(path)[0])
        except NotAnEntry:
            os.unlink(path)
            return
        upload = self.uploads.get(part.upload)
        known = upload.parts.get(part.number) if upload else None
        if upload is None or (known is not None and known.seq > part.seq):
            os.unlink(path)
            return
        if known is not None:
            self.drop_part(known)
        upload.parts[part.number] = part
        self.last_seq = max(self.last_seq, part.seq)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a small file so that it is seen whole or not at all."""
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    staged.write_bytes(data)
    os.replace(staged, path)


class Store:
    """All buckets under one folder, which belongs to this process alone.

    Raises OSError when the folder cannot be made or read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tmp = root / "tmp"
        shutil.rmtree(self.tmp, ignore_errors=True)
        for folder in (root / "buckets", self.tmp):
            folder.mkdir(parents=True, exist_ok=True)
        self.buckets: dict[str, Bucket | None] = {  # None: not read yet
            item.name: None
            for item in os.scandir(root / "buckets")
            if os.path.exists(f"{item.path}/bucket.json")
        }
        self._loading: dict[str, asyncio.Task[Bucket]] = {}

    async def bucket(self, name: str) -> Bucket | None:
        """A bucket, read from disk the first time it is asked for; None when there is none of that name."""
        if name not in self.buckets:
            return None
        bucket = self.buckets[name]
        if bucket is None:
            task = self._loading.get(name)
            if task is None:
                task = self._loading[name] = asyncio.create_task(self._load(name))
            bucket = await asyncio.shield(task)
        return bucket

    async def _load(self, name: str) -> Bucket:
        bucket = Bucket(self.root / "buckets" / name, name, region="", created=0.0)
        try:
            await asyncio.to_thread(bucket.load)
        finally:
            self._loading.pop(name, None)
        self.buckets[name] = bucket
        return bucket

    def create(self, name: str, *, region: str) -> Bucket:
        """Makes an empty bucket; it is there once its bucket.json is."""
        bucket = Bucket(self.root / "buckets" / name, name, region=region, created=time.time())
        for folder in ("objects", "parts", "uploads"):
            (bucket.root / folder).mkdir(parents=True, exist_ok=True)
        bucket.save()
        self.buckets[name] = bucket
        return bucket

    def delete(self, bucket: Bucket) -> None:
        """Deletes a bucket with all that is in it."""
        del self.buckets[bucket.name]
        grave = self.tmp / f"deleted-{uuid.uuid4().hex}"
        os.rename(bucket.root, grave)
        shutil.rmtree(grave, ignore_errors=True)

    def staging(self) -> str:
        """A fresh path for a file that is being written."""
        return f"{self.tmp}/{uuid.uuid4().hex}"

"""Buckets on disk and their index in memory.

    buckets/NAME/journal    what happened in the bucket, a line each (see journal.py); a bucket is there once it is
    buckets/NAME/content/   the bytes of objects and parts (see files.py)

Everything here runs on the event loop's thread and does not wait, so what is checked and then done is atomic.
Nothing is fsynced: a killed process loses nothing that was answered, a machine that loses power may.
"""

from __future__ import annotations

import asyncio
import bisect
import os
import shutil
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runctl.sandbox.s3.entry import Entry, Part, Upload, entry_from, upload_from
from runctl.sandbox.s3.errors import S3Error
from runctl.sandbox.s3.files import Files
from runctl.sandbox.s3.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
        self.files = Files(f"{root}/content")
        self._journal = Journal(f"{root}/journal")
        self._last_seq = 0
        self.closed = False

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

    # --- writing ----------------------------------------------------------------------------------------

    def save(self) -> None:
        """Keeps the bucket's own settings."""
        self._write({"bucket": self._settings()})

    def publish(self, entry: Entry, *, content: bytes = b"", ends: Upload | None = None) -> None:
        """Makes a version the current one, and `ends` the upload it was made by, in one step.

        The content is `content`, else what the entry refers to. Gives the entry its number and version id. What it
        replaces is deleted.
        """
        entry.seq = self._last_seq = max(self._last_seq + 1, time.time_ns())
        entry.version = f"{entry.seq:016x}{uuid.uuid4().hex[:16]}" if self.versioning == "Enabled" else "null"
        if content:
            entry.file, entry.at = self.files.keep(content)
        if ends is None:
            self._write({"put": entry})
        else:
            self._write({"put": entry, "end": ends.id})
            self._end(ends, kept=entry.parts)
        if entry.key not in self.versions:
            bisect.insort(self.keys, entry.key)
        if replaced := self._index(entry):
            self._forget(replaced)

    def retag(self, entry: Entry, tags: dict[str, str]) -> None:
        """Gives a version other tags."""
        entry.tags = tags
        self._write({"put": entry})

    def remove(self, entry: Entry) -> None:
        """Deletes one version for good; safe to repeat."""
        if self.version(entry.key, entry.version) is not entry:
            return
        self._write({"remove": [entry.key, entry.version]})
        self._unindex(entry)
        if entry.key not in self.versions:
            del self.keys[bisect.bisect_left(self.keys, entry.key)]
        self._forget(entry)

    def begin_upload(self, upload: Upload) -> None:
        """Begins an upload."""
        self._write({"upload": upload})
        self.uploads[upload.id] = upload

    def add_part(self, upload: Upload, part: Part) -> None:
        """Makes an uploaded part visible, in place of an earlier one of the same number."""
        part.upload = upload.id
        self._write({"part": part})
        earlier = upload.parts.get(part.number)
        upload.parts[part.number] = part
        if earlier:
            self.files.drop(earlier.file, earlier.size)

    def end_upload(self, upload: Upload) -> None:
        """Forgets an upload and deletes its parts; safe to repeat."""
        if upload.id in self.uploads:
            self._write({"end": upload.id})
            self._end(upload, kept=[])

    def close(self) -> None:
        """Closes the files; to whoever is still at work on it the bucket is gone. Safe to repeat."""
        self.closed = True
        self._journal.close()
        self.files.close()

    def _write(self, record: dict[str, Any]) -> None:
        if self.closed:  # its place may be another's by now
            raise S3Error("NoSuchBucket", BucketName=self.name)
        if self._journal.overgrown:
            self._journal.rewrite(self._records())
        self._journal.append(record)

    def _end(self, upload: Upload, *, kept: list[Part]) -> None:
        self.uploads.pop(upload.id, None)
        used = {part.file for part in kept}
        for part in upload.parts.values():
            if part.file not in used:
                self.files.drop(part.file, part.size)

    def _forget(self, entry: Entry) -> None:
        """Deletes the content of a version that is no more."""
        for part in entry.parts:
            self.files.drop(part.file, part.size)
        if entry.file and (sparse := self.files.drop(entry.file, entry.size)):
            self._empty(sparse)

    def _empty(self, pack: str) -> None:
        """Moves what is left in a pack to where new content goes."""
        for entry in [each for versions in self.versions.values() for each in versions if each.file == pack]:
            entry.file, entry.at = self.files.keep(self.files.read(pack, entry.at, entry.size))
            self._write({"put": entry})
            self.files.drop(pack, entry.size)

    # --- the index --------------------------------------------------------------------------------------

    def _index(self, entry: Entry) -> Entry | None:
        """Takes a version in; the one it replaces. `keys` is the caller's to keep."""
        versions = self.versions.get(entry.key)
        if versions is None:
            self.versions[entry.key] = [entry]
            return None
        replaced = self.version(entry.key, entry.version)
        if replaced is not None:
            versions.remove(replaced)
        versions.insert(0, entry)
        versions.sort(key=lambda version: -version.seq)
        return replaced

    def _unindex(self, entry: Entry) -> None:
        """Takes a version out. `keys` is the caller's to keep."""
        versions = self.versions[entry.key]
        versions.remove(entry)
        if not versions:
            del self.versions[entry.key]

    # --- the journal ------------------------------------------------------------------------------------

    def create(self) -> None:
        """Makes the folder of a new bucket."""
        (self.root / "content").mkdir(parents=True, exist_ok=True)
        self._journal.rewrite([{"bucket": self._settings()}])

    def load(self) -> None:
        """Reads the journal into the index and deletes content that nothing refers to."""
        for record in self._journal.replay():
            for word, value in record.items():
                self._replay(word, value)
        self.keys = sorted(self.versions)
        entries = [entry for versions in self.versions.values() for entry in versions]
        self._last_seq = max((entry.seq for entry in entries), default=0)
        used = [(entry.file, entry.size) for entry in entries]
        used += [(part.file, part.size) for entry in entries for part in entry.parts]
        used += [(part.file, part.size) for upload in self.uploads.values() for part in upload.parts.values()]
        self.files.load(used)

    def _replay(self, word: str, value: Any) -> None:
        if word == "put":
            self._index(entry_from(value))
        elif word == "remove":
            if (entry := self.version(*value)) is not None:
                self._unindex(entry)
        elif word == "upload":
            upload = upload_from(value)
            self.uploads[upload.id] = upload
        elif word == "part":
            part = Part(**value)
            self.uploads[part.upload].parts[part.number] = part
        elif word == "end":
            del self.uploads[value]
        else:
            self.region, self.created = value["region"], value["created"]
            self.versioning, self.configs = value["versioning"], value["configs"]

    def _records(self) -> Iterator[dict[str, Any]]:
        """The shortest journal that says how the bucket is now."""
        yield {"bucket": self._settings()}
        for versions in self.versions.values():
            for entry in reversed(versions):
                yield {"put": entry}
        for upload in self.uploads.values():
            yield {"upload": replace(upload, parts={})}
            for part in upload.parts.values():
                yield {"part": part}

    def _settings(self) -> dict[str, Any]:
        return {
            "region": self.region, "created": self.created,
            "versioning": self.versioning, "configs": self.configs,
        }  # fmt: skip


class Store:
    """All buckets under one folder, which belongs to this process alone.

    Raises OSError when the folder cannot be made or read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = root / "buckets"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.buckets: dict[str, Bucket | None] = {}  # None: not read yet
        for item in os.scandir(self._folder):
            if os.path.exists(f"{item.path}/journal"):
                self.buckets[item.name] = None
            else:  # it was being made or deleted when the process died
                shutil.rmtree(item.path)
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
        bucket = self.fresh(name, region="", created=0.0)
        try:
            await asyncio.to_thread(bucket.load)
        finally:
            self._loading.pop(name, None)
        self.buckets[name] = bucket
        return bucket

    def fresh(self, name: str, *, region: str, created: float) -> Bucket:
        """A bucket that is not in the store yet."""
        return Bucket(self._folder / name, name, region=region, created=created)

    def add(self, bucket: Bucket) -> None:
        """Makes an empty bucket; it is there once its journal is."""
        bucket.create()
        self.buckets[bucket.name] = bucket

    def delete(self, bucket: Bucket) -> None:
        """Deletes a bucket with all that is in it."""
        bucket.close()
        os.unlink(bucket.root / "journal")
        del self.buckets[bucket.name]
        shutil.rmtree(
            bucket.root, ignore_errors=True
        )  # a body may still be coming in; the next start gets the rest

    def close(self) -> None:
        """Closes every bucket: the store is of no more use. Safe to repeat."""
        for bucket in self.buckets.values():
            if bucket is not None:
                bucket.close()

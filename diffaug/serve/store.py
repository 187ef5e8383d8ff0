"""The server's cache: results in a folder of bounded size, the least recently used leave first."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import uuid
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from diffaug import storage
from diffaug.manifest.part import Row

__all__ = ["Store", "Stored"]

_NAME = re.compile(r"[0-9A-Za-z]+(-[a-z0-9]+)?")
"""A key, and the format of what is no PNG."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A result.

    Attributes:
        etag: its name, which stands for everything that determines its pixels.
        format: of its file, such as png.
        row: its manifest row.
        data: the bytes of its file.
    """

    etag: str
    format: str
    row: Row
    data: bytes


class Store:
    """A folder of results, each a file: a line of JSON, then the bytes.

    A file says how long it is and what its bytes' digest is; one that is torn or foreign counts as
    missing, and is written again. Several servers can share a folder; each evicts by what it has
    seen itself.

    Args:
        folder: a local path; it is created when the first file is written.
        most: bytes of all files at most, apart from the newest.

    Raises:
        ConfigError: the folder is blank, or the root of the disk.
    """

    def __init__(self, folder: str | os.PathLike[str], most: int) -> None:
        storage.refuse_root(os.fspath(folder), "cache")
        self._folder, self._most = storage.local_path(folder).resolve(), most
        self._lock = threading.Lock()
        found = [(path, path.stat()) for path in self._folder.glob("??/*.result")]
        found.sort(key=lambda one: one[1].st_mtime_ns)
        self._sizes = OrderedDict((path.stem, stat.st_size) for path, stat in found)
        self._total = sum(self._sizes.values())

    def read(self, etag: str) -> Stored | None:
        """The result of this name; None if it is missing or damaged."""
        if _NAME.fullmatch(etag) is None:  # a client's, which names no other path
            return None
        path = self._path(etag)
        try:
            head, _, data = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        try:
            fields = json.loads(head)
            whole = fields["etag"] == etag and fields["sha256"] == hashlib.sha256(data).hexdigest()
            found = Stored(etag, fields["format"], fields["row"], data)
        except (ValueError, KeyError, TypeError):
            return None
        if not whole:
            return None
        with self._lock, suppress(OSError):
            if etag in self._sizes:
                self._sizes.move_to_end(etag)
            os.utime(path)  # the order outlives the process
        return found

    def write(self, made: Stored) -> None:
        """Keep a result, and drop the least recently used ones if there are too many.

        Raises:
            OSError: the folder cannot be written to.
        """
        head = {
            "etag": made.etag,
            "sha256": hashlib.sha256(made.data).hexdigest(),
            "format": made.format,
            "row": made.row,
        }
        data = json.dumps(head).encode() + b"\n" + made.data
        path = self._path(made.etag)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{made.etag}-{uuid.uuid4().hex}")
        try:
            fresh.write_bytes(data)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        with self._lock:
            self._total += len(data) - self._sizes.pop(made.etag, 0)
            self._sizes[made.etag] = len(data)
            while self._total > self._most and len(self._sizes) > 1:
                oldest, size = self._sizes.popitem(last=False)
                self._path(oldest).unlink(missing_ok=True)
                self._total -= size

    def _path(self, etag: str) -> Path:
        return self._folder / etag[:2] / f"{etag}.result"

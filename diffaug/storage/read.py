"""Reading files: a remote read that breaks off is resumed where it stopped."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from diffaug.storage.chain import is_chain
from diffaug.storage.find import entries, filesystem, on_this_machine, public_url
from diffaug.storage.retry import ChangedError, patiently

__all__ = [
    "Fingerprint",
    "WholeFile",
    "open_read",
    "open_whole",
    "read_bytes",
    "read_end",
    "sha256",
    "version",
    "versions",
]

_BLOCK = 1 << 20
_END = 1 << 16
_VERSION = (
    *("size", "mtime", "ino", "created"),
    *("ETag", "etag", "LastModified", "generation"),
    *("Last-Modified", "Content-MD5", "Digest"),
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies a file's stored bytes.

    Attributes:
        size: number of bytes.
        sha256: of the bytes, in hex.
        read_at: when reading began.
    """

    size: int
    sha256: str
    read_at: datetime


@contextmanager
def open_read(url: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed when its name ends in .gz."""
    with _opened(url) as raw, _plain(raw, url) as stream:
        yield stream


class WholeFile:
    """A file read once from start to end, its bytes counted and hashed as they pass.

    Attributes:
        stream: the contents, decompressed when the file's name ends in .gz. It cannot seek.
    """

    def __init__(self, url: str, raw: IO[bytes], version: object) -> None:
        self._url = url
        self._raw = _Hashed(raw)
        self._version = version
        self._opened = datetime.now(UTC)
        self.stream = _plain(cast(IO[bytes], self._raw), url)

    @property
    def bytes_read(self) -> int:
        """How many of the file's stored bytes have been read so far."""
        return self._raw.size

    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the whole file: the rest of it is read now.

        Raises:
            OSError: the file changed after it was opened.
        """
        while self._raw.read(_BLOCK):
            pass
        if self._version != _version(*filesystem(self._url)):
            raise ChangedError(f"{public_url(self._url)} changed while it was being read")
        return Fingerprint(self._raw.size, self._raw.digest.hexdigest(), self._opened)


@contextmanager
def open_whole(url: str) -> Iterator[WholeFile]:
    """Open a file to read the whole of it once."""
    version = _version(*filesystem(url))
    with _opened(url, once=True) as raw:
        yield WholeFile(url, raw, version)


def sha256(url: str) -> str:
    """The sha256 of a file's stored bytes, in hex.

    Raises:
        OSError: the file changed twice while it was being read.
    """
    try:
        return _sha256(url)
    except ChangedError:  # as one that `create` has just published, whose other name goes
        return _sha256(url)


def _sha256(url: str) -> str:
    with open_whole(url) as source:
        return source.fingerprint().sha256


def read_bytes(url: str) -> bytes:
    """The whole of a small file."""
    fs, path = filesystem(url)
    data: bytes = fs.cat_file(path) if on_this_machine(fs) else patiently(fs.cat_file, path)
    return data


def read_end(url: str) -> bytes | None:
    """The last 64 KiB of a file, or all of a smaller one; None if it is not on this machine.

    Raises:
        OSError: as when a file is opened.
    """
    fs, path = filesystem(url)
    if not on_this_machine(fs):
        return None
    with Path(path).open("rb", buffering=0) as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _END))
        return stream.read()


def _opened(url: str, once: bool = False) -> IO[bytes]:
    """The stored bytes. A file read only `once` does not require a server with range requests."""
    fs, path = filesystem(url)
    if on_this_machine(fs):
        return cast(IO[bytes], fs.open(path, "rb"))
    options = {"block_size": 0} if once and url.startswith(("http://", "https://")) else {}
    return cast(IO[bytes], _Resumed(fs, path, public_url(url), options))


def _plain(raw: IO[bytes], url: str) -> IO[bytes]:
    name = url.partition("::")[0] if is_chain(url) else url
    zipped = name.endswith((".gz", ".tgz"))
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw


def versions(folder: str, suffix: str) -> dict[str, object]:
    """Of the files that `listing` lists, what their store reports that changes whenever their
    content does, by name."""
    return {
        name: _version_in(info)
        for name, info in entries(folder).items()
        if name.endswith(suffix) and not name.startswith(".")
    }


def version(url: str) -> object:
    """What the store of a file reports about it that changes whenever its content does."""
    return _version(*filesystem(url))


def _version(fs: Any, path: str) -> object:
    """What a store reports about a file that changes whenever its content does."""
    fs.invalidate_cache()
    return _version_in(patiently(fs.info, path))


def _version_in(info: Any) -> object:
    return [info.get(name) for name in _VERSION]


class _Resumed(io.RawIOBase):
    """A remote file, reopened where a read broke off as long as it is still the same file."""

    def __init__(self, fs: Any, path: str, name: str, options: dict[str, Any]) -> None:
        self._fs = fs
        self._path = path
        self._name = name
        self._options = options
        self._at = 0
        self._version = _version_in(patiently(fs.info, path))
        self._stream: Any = patiently(fs.open, path, "rb", **options)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._stream.seekable())

    def read(self, size: int = -1) -> bytes:
        return patiently(self._read, size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = int(self._stream.seek(offset, whence))
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed and self._stream is not None:
            self._stream.close()
        super().close()

    def _read(self, size: int) -> bytes:
        if self._stream is None:
            self._stream = self._again()
        try:
            data: bytes = self._stream.read(size)
        except Exception:
            with suppress(Exception):
                self._stream.close()
            self._stream = None
            raise
        self._at += len(data)
        return data

    def _again(self) -> Any:
        if _version(self._fs, self._path) != self._version:
            raise self._changed()
        stream = self._fs.open(self._path, "rb", **self._options)
        try:
            stream.seek(self._at)
        except ValueError:  # no ranges: read and discard what the caller already has
            left = self._at
            while left:
                passed = len(stream.read(min(left, _BLOCK)))
                if not passed:
                    raise self._changed() from None
                left -= passed
        return stream

    def _changed(self) -> ChangedError:
        return ChangedError(f"{self._name} changed while it was being read")


class _Hashed:
    """A stream that hashes and counts the bytes read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data

"""Reading: a remote file that breaks off is opened again where it did."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, cast

from diffaug.storage.find import filesystem, on_this_machine, public_url
from diffaug.storage.retry import ChangedError, patiently

__all__ = ["Fingerprint", "Source", "open_read", "open_source", "read_bytes", "sha256"]

_BLOCK = 1 << 20
_VERSION = (
    *("size", "mtime", "ino", "created"),
    *("ETag", "etag", "LastModified", "generation"),
    *("Last-Modified", "Content-MD5", "Digest"),
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A file's bytes as they are stored.

    Attributes:
        size: how many.
        sha256: of them, in hex.
        read_at: when their reading began.
    """

    size: int
    sha256: str
    read_at: datetime


@contextmanager
def open_read(url: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed when its name ends in .gz."""
    with _opened(url) as raw, _plain(raw, url) as stream:
        yield stream


class Source:
    """A file read once from start to end, its bytes taken note of as they pass.

    Attributes:
        stream: what is in it, decompressed when its name ends in .gz. It cannot seek.
    """

    def __init__(self, url: str, raw: IO[bytes], version: object) -> None:
        self._url = url
        self._raw = _Hashed(raw)
        self._version = version
        self._opened = datetime.now(UTC)
        self.stream = _plain(cast(IO[bytes], self._raw), url)

    @property
    def bytes_read(self) -> int:
        """How much of the file, as it is stored, was read so far."""
        return self._raw.size

    def fingerprint(self) -> Fingerprint:
        """Of the whole file: what was not read yet is read now.

        Raises:
            OSError: it is not the file any more that it was when it was opened.
        """
        while self._raw.read(_BLOCK):
            pass
        if self._version != _version(*filesystem(self._url)):
            raise ChangedError(f"{public_url(self._url)} was changed while it was read")
        return Fingerprint(self._raw.size, self._raw.digest.hexdigest(), self._opened)


@contextmanager
def open_source(url: str) -> Iterator[Source]:
    """Open a file to read it whole, once."""
    version = _version(*filesystem(url))
    with _opened(url, once=True) as raw:
        yield Source(url, raw, version)


def sha256(url: str) -> str:
    """Digest of a file's bytes as they are stored, in hex."""
    with open_source(url) as source:
        return source.fingerprint().sha256


def read_bytes(url: str) -> bytes:
    """The whole of a small file."""
    fs, path = filesystem(url)
    data: bytes = fs.cat_file(path) if on_this_machine(fs) else patiently(fs.cat_file, path)
    return data


def _opened(url: str, once: bool = False) -> IO[bytes]:
    """The file as it is stored; one that is read but once needs no server that knows ranges."""
    fs, path = filesystem(url)
    if on_this_machine(fs):
        return cast(IO[bytes], fs.open(path, "rb"))
    options = {"block_size": 0} if once and url.startswith(("http://", "https://")) else {}
    return cast(IO[bytes], _Resumed(fs, path, public_url(url), options))


def _plain(raw: IO[bytes], url: str) -> IO[bytes]:
    zipped = url.partition("::")[0].endswith((".gz", ".tgz"))
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw


def _version(fs: Any, path: str) -> object:
    """What a store says of a file that changes when its content does."""
    fs.invalidate_cache()
    return _told(patiently(fs.info, path))


def _told(info: Any) -> object:
    return [info.get(name) for name in _VERSION]


class _Resumed(io.RawIOBase):
    """A remote file, opened again where it broke off, provided it is still the same one."""

    def __init__(self, fs: Any, path: str, name: str, options: dict[str, Any]) -> None:
        self._fs = fs
        self._path = path
        self._name = name
        self._options = options
        self._at = 0
        self._version = _told(patiently(fs.info, path))
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
        except ValueError:  # a stream without ranges: what was read is passed over
            left = self._at
            while left:
                passed = len(stream.read(min(left, _BLOCK)))
                if not passed:
                    raise self._changed() from None
                left -= passed
        return stream

    def _changed(self) -> ChangedError:
        return ChangedError(f"{self._name} was changed while it was read")


class _Hashed:
    """A stream, with the digest and the count of what was read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data

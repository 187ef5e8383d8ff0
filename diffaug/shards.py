"""Shards: tars read as streams of samples, and written byte-stable.

Nothing is extracted, unpickled or run: only regular members whose extension was asked for are
read, into memory.
"""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from diffaug.errors import DefectError, as_os_error

__all__ = [
    "Member",
    "Sample",
    "ShardWriter",
    "integer",
    "read_member",
    "read_samples",
    "split_name",
]

_BLOCK = tarfile.BLOCKSIZE
_STREAM_BUFFER = 64 * 1024
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")  # within int64
_TRAPS = (ValueError, OverflowError, RecursionError)  # what tarfile raises on some broken headers


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar: its name, where its data begins, and the data."""

    name: str
    offset: int
    data: bytes


@dataclass(slots=True)
class Sample:
    """The members that share a key, or a defect of the tar itself.

    Attributes:
        key: path up to the first dot of the base name; None for a defect of the tar.
        members: by extension, lower case.
        defect: what is wrong with it, if anything is known to be.
        offset: for a defect of the tar, where in it reading stopped, in bytes.
    """

    key: str | None
    members: dict[str, Member] = field(default_factory=dict)
    defect: DefectError | None = None
    offset: int | None = None

    def first(self, extensions: Iterable[str]) -> Member | None:
        """The first of these members that the sample has."""
        found = (self.members.get(extension) for extension in extensions)
        return next((member for member in found if member is not None), None)

    def image(self, extensions: Iterable[str]) -> Member:
        """The sample's image: the first of these members.

        Raises:
            DefectError: it has none, or is itself a defect.
        """
        if self.defect is not None:
            raise self.defect
        member = self.first(extensions)
        if member is None:
            known = ", ".join(extensions)
            raise DefectError("no_image", f"the sample has no image member (looked for {known})")
        return member


def integer(text: str) -> int | None:
    """A class as text (decimal digits, a sign before them at most) as an integer, else None."""
    return int(text) if _INTEGER.fullmatch(text.strip()) else None


def split_name(name: str) -> tuple[str, str] | None:
    """Split a member's name into (key, extension) as webdataset does; None if it has no key."""
    folder, base = posixpath.split(name)
    stem, dot, extension = base.partition(".")
    if not dot or not stem:
        return None
    return posixpath.join(folder, stem), extension.lower()


def read_samples(stream: IO[bytes], wanted: Callable[[str], bool]) -> Iterator[Sample]:
    """Group a tar's members into samples, in order, in constant memory.

    A repeated key, and a sample that a cut may have left incomplete, carry a defect; whatever
    ends the tar before its end-of-archive mark yields one last Sample without key that says
    where. Errors of the storage itself are raised.

    Args:
        stream: the tar's bytes, read once, from start to end.
        wanted: which extensions to read; the data of others is skipped.
    """
    tail = _Tail(stream)
    sample: Sample | None = None
    seen: set[str] = set()
    stopped = 0  # where the next header would stand
    try:
        with tarfile.open(fileobj=cast(Any, tail), mode="r|", bufsize=_STREAM_BUFFER) as tar:
            while (info := tar.next()) is not None:
                cast(Any, tar).members.clear()  # tarfile keeps every header it has seen
                stopped = tar.offset
                name = split_name(info.name) if info.isreg() else None
                if name is None:
                    continue
                key, extension = name
                broken = not _is_utf8(key + extension)
                if broken:
                    key, extension = _as_utf8(key), _as_utf8(extension)
                if sample is None or key != sample.key or extension in sample.members:
                    if sample is not None:
                        yield sample
                    sample = Sample(key, defect=_defect_of(key, seen, broken))
                    seen.add(key)
                if wanted(extension) and info.issparse():
                    sample.defect = sample.defect or DefectError(
                        "sparse_member", f"{extension} is a sparse member: pack it without holes"
                    )
                elif wanted(extension):
                    handle = tar.extractfile(info)
                    data = handle.read() if handle is not None else b""
                    sample.members[extension] = Member(_as_utf8(info.name), info.offset_data, data)
        if not tail.ended_at(stopped):
            raise tarfile.ReadError("no end-of-archive mark")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, *_TRAPS) as error:
        yield from _cut_short(sample, min(stopped, tail.position), tail.position, error)
    else:
        if sample is not None:
            yield sample


def _is_utf8(name: str) -> bool:
    return _as_utf8(name) == name


def _as_utf8(name: str) -> str:
    """A name whose bytes that are no UTF-8 (surrogates, to tarfile) are replaced."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _defect_of(key: str, seen: set[str], broken: bool) -> DefectError | None:
    if broken:
        return DefectError("unsafe_name", "the member's name is not UTF-8")
    if key in seen:
        return DefectError("duplicate_key", "the shard has this key twice; the first one was used")
    if key.startswith("/") or ".." in key.split("/"):
        return DefectError("unsafe_name", "the key is absolute or climbs out of its folder")
    return None


def _cut_short(sample: Sample | None, at: int, size: int, error: Exception) -> Iterator[Sample]:
    if sample is None:
        empty = size == 0 and isinstance(error, tarfile.ReadError)
        what = "is empty: zero bytes" if empty else f"cannot be read as a tar: {error}"
        yield Sample(None, defect=DefectError("unreadable_tar", f"the shard {what}"), offset=at)
        return
    where = f"the shard is cut short or corrupt at byte {at}"
    sample.defect = sample.defect or DefectError("truncated_tar", f"{where}, in this sample")
    yield sample
    defect = DefectError("truncated_tar", f"{where} ({error}); what followed is lost")
    yield Sample(None, defect=defect, offset=at)


class _Tail:
    """A readable stream that remembers its last bytes, to see how a tar ended.

    tarfile takes a broken header, and the end of the file, for the end of the archive.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last = b""
        self.position = 0

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except (OSError, EOFError, zlib.error):
            raise
        except Exception as error:  # the storage's, whatever its kind: no defect of the bytes
            raise as_os_error(error) from error
        self.position += len(data)
        self._last = (self._last + data)[-2 * _STREAM_BUFFER :]
        return data

    def ended_at(self, offset: int) -> bool:
        """Whether a block of zeros, the end-of-archive mark, stands at `offset`."""
        begin = offset - (self.position - len(self._last))
        return begin >= 0 and self._last[begin : begin + _BLOCK] == bytes(_BLOCK)


class ShardWriter:
    """Writes a tar whose bytes depend on its members alone: fixed time, owner, mode and order."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, name: str, data: bytes) -> int:
        """Append a member and return the offset of its data."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(data), 0, 0o644
        self._tar.addfile(info, io.BytesIO(data))
        cast(Any, self._tar).members.clear()  # tarfile keeps every header it has written
        return self._tar.offset - -(-len(data) // _BLOCK) * _BLOCK

    def close(self) -> None:
        """Write the end-of-archive mark. The stream stays open."""
        self._tar.close()


def read_member(stream: IO[bytes], offset: int) -> bytes:
    """Read one member's data from a seekable tar, by the offset that a manifest row gives.

    Raises:
        tarfile.TarError: there is no member at that offset.
    """
    stream.seek(offset - _BLOCK)
    info = tarfile.TarInfo.frombuf(stream.read(_BLOCK), tarfile.ENCODING, "surrogateescape")
    return stream.read(info.size)

"""Shards: tars read as streams of samples, and written byte-stable.

Nothing is extracted, unpickled, followed or run. Only regular members with a requested extension
are read into memory, and only up to the size allowed.
"""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from diffaug.errors import DefectError
from diffaug.shards.keys import Keys
from diffaug.shards.tars import Tail, open_tar

__all__ = [
    "LONGEST_NAME",
    "MAX_BYTES",
    "MOST_NAMES",
    "Member",
    "Sample",
    "ShardWriter",
    "integer",
    "read_member",
    "read_samples",
    "split_name",
]

MAX_BYTES = 1 << 29
"""The largest member to read, in bytes: the raw size of the largest RGB picture Pillow decodes."""

MOST_NAMES = 1000
"""How many members of one sample are remembered by name."""

LONGEST_NAME = 4096
"""Bytes of a member's name: the longest path Linux takes; a shard's keys are held in memory."""

_BLOCK = tarfile.BLOCKSIZE
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")  # within int64
_MAX_EXTENSION = 255  # bytes: the longest name of a file
_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
_TRAPS = (ValueError, OverflowError, RecursionError, IndexError)  # from tarfile, on broken headers
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.DIRTYPE: "a folder",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}
_OTHERS = {
    b"\x1f\x8b": "gzip-compressed: name it .tar.gz",
    b"BZh": "bzip2-compressed: unpack it first",
    b"\xfd7zXZ\0": "xz-compressed: unpack it first",
    b"\x28\xb5\x2f\xfd": "zstandard-compressed: unpack it first",
    b"PK\x03\x04": "a zip file",
}
"""Files mistaken for tars, by their first bytes."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar: its name, the offset where its data begins, and the data."""

    name: str
    offset: int
    data: bytes


@dataclass(slots=True)
class Sample:
    """The members that share a key, or a defect of the tar itself.

    Attributes:
        key: path up to the first dot of the base name; None for a defect of the tar.
        members: those that were read, by extension, in lower case.
        names: the extensions of all its members, read or not; of more than `MOST_NAMES` members,
            those of the first.
        defect: what is wrong with the sample, as far as that is known; None if nothing is.
        offset: for a defect of the tar, where in the tar reading stopped, in bytes.
    """

    key: str | None
    members: dict[str, Member] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    defect: DefectError | None = None
    offset: int | None = None


def integer(text: str) -> int | None:
    """Parse a class written in decimal digits, perhaps with a sign; None if it is anything else."""
    return int(text) if _INTEGER.fullmatch(text.strip()) else None


def split_name(name: str) -> tuple[str, str] | None:
    """Split a member's name into (key, extension) as webdataset does; None if it has no key."""
    folder, base = posixpath.split(name)
    stem, dot, extension = base.partition(".")
    if not dot or not stem:
        return None
    return posixpath.join(folder, stem), extension.lower()


def read_samples(
    stream: IO[bytes],
    wanted: Callable[[str], bool],
    max_bytes: int = MAX_BYTES,
    max_sample: int | None = None,
    most_keys: int | None = None,
) -> Iterator[Sample]:
    """Group a tar's members into samples, in order, in constant memory.

    A sample carries a defect if its key is repeated, if one of its members cannot be read, or if
    a cut may have left it incomplete. If the tar ends before its end-of-archive mark, or data
    follows that mark, one last Sample without a key gives the offset. Errors of the storage
    itself are raised.

    Args:
        stream: the tar's bytes, read once from start to end.
        wanted: which extensions to read; of other members only the names are kept.
        max_bytes: the largest member to read.
        max_sample: the largest sample, in bytes of the members that are read; None: any.
        most_keys: how many keys to remember, so that one which comes again is noticed; None: all.
    """
    tail = Tail(stream)
    sample: Sample | None = None
    seen = Keys(most_keys)
    stopped = 0  # offset of the next header
    try:
        with open_tar(tail) as tar:
            while (info := tar.next()) is not None:
                cast(Any, tar).members.clear()  # tarfile keeps every header it has seen
                stopped = tar.offset
                name = split_name(info.name)
                if name is None or not (info.isreg() or wanted(name[1])):
                    continue
                key, extension = _as_utf8(name[0])[:LONGEST_NAME], name[1]
                if sample is None or key != sample.key or extension in sample.members:
                    if sample is not None:
                        yield sample
                    sample = Sample(key, defect=_defect_of(info.name, key, seen))
                    seen.add(key)
                if len(sample.names) < MOST_NAMES:
                    sample.names[_as_utf8(extension)[-_MAX_EXTENSION:]] = None
                if wanted(extension):
                    try:
                        _refuse_unread(info, extension, sample, max_bytes, max_sample)
                        sample.members[extension] = _take(tar, info)
                    except DefectError as defect:
                        sample.defect = sample.defect or defect
        if not tail.ended_at(stopped):
            raise tarfile.ReadError("no end-of-archive mark")
    except (tarfile.TarError, *_GZIP, *_TRAPS) as error:
        yield from _cut_short(sample, min(stopped, tail.position), tail, error)
    else:
        if sample is not None:
            yield sample
        yield from _after_end(tail, stopped)


def _refuse_unread(
    info: tarfile.TarInfo, extension: str, sample: Sample, max_bytes: int, max_sample: int | None
) -> None:
    """Raise the defect of a member that is not read: no plain file, or too large."""
    if not info.isreg():
        kind = _KINDS.get(info.type, "a member of unknown type")
        raise DefectError("not_a_file", f"{extension} is {kind}, but only plain files are read")
    if info.issparse():
        raise DefectError("sparse_member", f"{extension} is a sparse member: pack it without holes")
    if info.size > max_bytes:
        raise DefectError(
            "too_large_member",
            f"{extension} declares {info.size} bytes, but members of at most {max_bytes} are read",
        )
    held = sum(len(member.data) for member in sample.members.values())
    if max_sample is not None and held + info.size > max_sample:
        raise DefectError(
            "too_large_sample",
            f"with {extension}, of {info.size} bytes, the members that are read have more than "
            f"{max_sample} bytes together",
        )


def _take(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    """Read a plain file."""
    handle = tar.extractfile(info)
    data = handle.read() if handle is not None else b""
    return Member(_as_utf8(info.name), info.offset_data, data)


def _as_utf8(name: str) -> str:
    """A name with any bytes that are not UTF-8, which tarfile reads as surrogates, replaced."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _defect_of(name: str, key: str, seen: Keys) -> DefectError | None:
    """What is wrong with a sample's key, judged by the name of its first member."""
    if _as_utf8(name) != name:
        return DefectError("unsafe_name", "the member's name is not UTF-8")
    if len(name.encode()) > LONGEST_NAME:
        return DefectError("unsafe_name", f"the member's name is longer than {LONGEST_NAME} bytes")
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return DefectError("unsafe_name", "the member's name contains control characters")
    if key in seen:
        return DefectError(
            "duplicate_key",
            "the shard has this key twice, and the first one was used; the members of a sample "
            "must be adjacent",
        )
    if key.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", key):
        return DefectError("unsafe_name", "the key is absolute or climbs out of its folder")
    return None


def _cut_short(sample: Sample | None, at: int, tail: Tail, error: Exception) -> Iterator[Sample]:
    explained = isinstance(error, (tarfile.ReadError, *_GZIP))
    why = str(error) if explained else "a header is invalid"
    if sample is None:
        other = next((text for start, text in _OTHERS.items() if tail.start.startswith(start)), "")
        what = f"is not a tar but {other}" if other else f"cannot be read as a tar: {why}"
        if tail.position == 0 and isinstance(error, tarfile.ReadError):
            what = "is empty: zero bytes"
        yield Sample(None, defect=DefectError("unreadable_tar", f"the shard {what}"), offset=at)
        return
    where = f"the shard is cut short or corrupt at byte {at}"
    sample.defect = sample.defect or DefectError("truncated_tar", f"{where}, in this sample")
    yield sample
    defect = DefectError("truncated_tar", f"{where} ({why}); what followed is lost")
    yield Sample(None, defect=defect, offset=at)


def _after_end(tail: Tail, end: int) -> Iterator[Sample]:
    """Check that only zeros, and gzip's checksum, follow the end-of-archive mark."""
    try:
        if tail.only_zeros_from(end):
            return
        defect = DefectError(
            "data_after_end",
            f"the shard's end-of-archive mark is at byte {end}, and the data after it is lost "
            "(tars were concatenated, or part of the shard was overwritten with zeros)",
        )
    except _GZIP as error:
        end = tail.position
        defect = DefectError(
            "corrupt_gzip",
            f"the shard's compressed data is damaged, and its images may be too: {error}",
        )
    yield Sample(None, defect=defect, offset=end)


class ShardWriter:
    """Writes a tar whose bytes depend only on its members: fixed time, owner, mode and order."""

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
    """Read one member's data from a seekable tar, by the offset in a manifest row.

    Raises:
        tarfile.TarError: there is no member at that offset.
    """
    stream.seek(offset - _BLOCK)
    info = tarfile.TarInfo.frombuf(stream.read(_BLOCK), tarfile.ENCODING, "surrogateescape")
    return stream.read(info.size)

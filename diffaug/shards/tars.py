"""tarfile hardened against malicious archives that would make it hang or exhaust memory."""

from __future__ import annotations

import tarfile
from typing import IO, Any, cast

__all__ = ["Tail", "open_tar"]

_BUFFER = 64 * 1024
_MAX_HEADER = 1 << 20  # bytes; tarfile holds names, PAX records and maps of holes in memory


def open_tar(tail: Tail) -> tarfile.TarFile:
    """Open a tar as a stream whose headers have a bounded size.

    Raises:
        tarfile.TarError: it does not begin like a tar. A broken header can raise other errors.
    """
    return tarfile.open(fileobj=cast(Any, tail), mode="r|", bufsize=_BUFFER, tarinfo=_Header)


class Tail:
    """A readable stream that remembers its first and last bytes, to check how a tar ended.

    tarfile mistakes a broken header, or the end of the file, for the end of the archive. At the
    end of the file it also keeps asking for 64 kB at a time until it has the size that a header
    declares, which can take forever.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last = b""
        self._ends = 0
        self.start = b""
        self.position = 0

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes.

        Raises:
            EOFError: this is the third read past the end of the file.
        """
        data = self._stream.read(size)
        self._ends += not data
        if self._ends > 2:
            raise EOFError("unexpected end of data")
        self.start = self.start or data[:8]
        self.position += len(data)
        self._last = (self._last + data)[-2 * _BUFFER :]
        return data

    def ended_at(self, offset: int) -> bool:
        """Whether the end-of-archive mark, a block of zeros, is at `offset`."""
        begin = offset - (self.position - len(self._last))
        return begin >= 0 and self._last[begin:].startswith(bytes(tarfile.BLOCKSIZE))

    def only_zeros_from(self, offset: int) -> bool:
        """Read to the end, and return whether everything from `offset` on is zero."""
        clean = not self._last[offset - (self.position - len(self._last)) :].strip(b"\0")
        while data := self._stream.read(_BUFFER):
            self.position += len(data)
            clean = clean and not data.strip(b"\0")
        return clean


class _Header(tarfile.TarInfo):
    """A header and its extension headers, bounded in size since tarfile holds them in memory."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Header:
        stream: Any = tarfile.fileobj
        if isinstance(stream, _Bounded):  # within another header
            return super().fromtarfile(tarfile)
        tarfile.fileobj = cast(Any, _Bounded(stream))
        try:
            return super().fromtarfile(tarfile)
        finally:
            tarfile.fileobj = stream


class _Bounded:
    """A stream from which at most `_MAX_HEADER` bytes can be read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = _MAX_HEADER

    def read(self, size: int) -> bytes:
        self._left -= size
        if size < 0 or self._left < 0:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._stream.read(size)

    def tell(self) -> int:
        return self._stream.tell()

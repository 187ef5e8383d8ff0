"""Members of tars read by the place a manifest row gives, on any fsspec URL."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
import zlib
from types import TracebackType
from typing import IO

from diffaug import storage
from diffaug.errors import DefectError
from diffaug.shards import read_member, read_samples

__all__ = ["Members"]


class Members:
    """Reads members one after the other, keeping the tar of the last one open.

    Asked for in the order in which they lie, the members of one tar cost one pass over it, even
    where it is compressed. Use it as a context manager.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._url: str | None = None
        self._stream: IO[bytes] | None = None
        self._places: tuple[tuple[str, str], dict[str, int]] = ("", ""), {}

    def __enter__(self) -> Members:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def read(self, url: str, offset: int) -> bytes:
        """The data of the member that begins at `offset` of the (uncompressed) tar.

        Raises:
            OSError: storage will not give it: FileNotFoundError where there is no such tar.
            DefectError: the tar has no member there.
        """
        stream = self._open(url)
        if offset < tarfile.BLOCKSIZE:
            raise DefectError("no_member", f"has no member at {offset}: a header comes first")
        try:
            return read_member(stream, offset)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DefectError("no_member", f"has no member at {offset}: {error}") from None

    def offset(self, url: str, key: str, extension: str) -> int | None:
        """Where the data of a sample's member begins; None where the sample has no such member.

        The tar is read through once for all its samples, which must be asked for one after another.

        Raises:
            OSError: as for `read`.
        """
        if self._places[0] != (url, extension):
            found: dict[str, int] = {}
            with storage.open_read(url) as stream:
                for sample in read_samples(stream, {extension}.__contains__):
                    if sample.key is not None and extension in sample.members:
                        found.setdefault(sample.key, sample.members[extension].offset)
            self._places = (url, extension), found
        return self._places[1].get(key)

    def _open(self, url: str) -> IO[bytes]:
        if self._stream is None or url != self._url:
            self._stack.close()
            self._stream = None
            self._stream = self._stack.enter_context(storage.open_read(url))
            self._url = url
        return self._stream

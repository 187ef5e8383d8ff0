"""Reading members of tars by the offset in a manifest row, on any fsspec URL."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import IO

from diffaug import storage
from diffaug.errors import DefectError
from diffaug.shards import read_member, read_samples

__all__ = ["Members"]


class Members:
    """Reads members one after another, keeping the last one's tar open.

    Reading the members of one tar in the order in which they lie takes one pass over it, even if
    it is compressed. Use it as a context manager.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._url: str | None = None
        self._stream: IO[bytes] | None = None
        self._places: tuple[tuple[str, str], dict[str, int | None]] = ("", ""), {}

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
            OSError: storage failed; FileNotFoundError if there is no such tar.
            DefectError: the tar has no member there.
        """
        stream = self._open(url)
        if offset < tarfile.BLOCKSIZE:
            raise DefectError("no_member", f"has no member at {offset}: a header comes first")
        try:
            return read_member(stream, offset)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DefectError("no_member", f"has no member at {offset}: {error}") from None

    def offset(
        self, url: str, key: str, extension: str, wanted: Callable[[str], bool]
    ) -> int | None:
        """Where the data of a sample's member begins; None if the sample has no such member.

        One pass over the tar serves all its samples, as long as they are asked for one after
        another.

        Args:
            url: the tar's.
            key: the sample's.
            extension: the member's.
            wanted: the extensions to read, which decide what counts as a sample (see
                `read_samples`).

        Raises:
            OSError: as for `read`.
        """
        if self._places[0] != (url, extension):
            found: dict[str, int | None] = {}
            with storage.open_read(url) as stream:
                for sample in read_samples(stream, wanted):
                    if sample.key is not None:  # if a key occurs twice, the first one counts
                        member = sample.members.get(extension)
                        found.setdefault(sample.key, None if member is None else member.offset)
            self._places = (url, extension), found
        return self._places[1].get(key)

    def _open(self, url: str) -> IO[bytes]:
        if self._stream is None or url != self._url:
            self._stack.close()
            self._stream = None
            self._stream = self._stack.enter_context(storage.open_read(url))
            self._url = url
        return self._stream

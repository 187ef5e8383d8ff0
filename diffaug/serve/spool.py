"""A spool: bytes on their way to a client, which may take them later than they are made."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from typing import IO

__all__ = ["Spool"]

_MEMORY = 2**20
"""Bytes that wait in memory; what waits behind them is on the disk."""

_CHUNK = 2**18
"""Bytes that are read from the disk at a time."""


class Spool:
    """A queue of bytes between one writer and one reader, neither of which waits for the other.

    What does not fit into memory waits in a file without a name, which is emptied when the reader
    has caught up. Only the disk bounds it.

    Args:
        memory: bytes that wait in memory at most.

    Attributes:
        held: bytes that wait in memory.
        on_disk: bytes of the file.
    """

    def __init__(self, memory: int = _MEMORY) -> None:
        self._most = memory
        self._parts: deque[bytes] = deque()
        self._file: IO[bytes] | None = None
        self._read = 0
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._is_ended = False
        self.held = self.on_disk = 0

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: the disk is full.
        """
        async with self._lock:
            if self.on_disk or self.held + len(data) > self._most:
                await asyncio.to_thread(self._append, data)
            elif data:
                self._parts.append(data)
                self.held += len(data)
        self._changed.set()

    def end(self) -> None:
        """Nothing more is written."""
        self._is_ended = True
        self._changed.set()

    async def read(self) -> bytes:
        """The next bytes, once there are some; none at the end."""
        while True:
            self._changed.clear()
            async with self._lock:
                if self._parts:
                    part = self._parts.popleft()
                    self.held -= len(part)
                    return part
                if self.on_disk:
                    return await asyncio.to_thread(self._take)
            if self._is_ended:
                return b""
            await self._changed.wait()

    def close(self) -> None:
        """Drop what waits."""
        if self._file is not None:
            self._file.close()

    def _append(self, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="diffaug-")  # noqa: SIM115
        self._file.seek(self.on_disk)
        self._file.write(data)
        self.on_disk += len(data)

    def _take(self) -> bytes:
        assert self._file is not None
        self._file.seek(self._read)
        part = self._file.read(_CHUNK)
        self._read += len(part)
        if self._read == self.on_disk:
            self._file.truncate(0)
            self._read = self.on_disk = 0
        return part

"""One connection of HTTP/1.1 that stays open, at next to no cost in processor time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Answer", "Connection"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        headers: by name in small letters.
        body: whole.
        seconds: from the first byte sent to the last one received.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


class Connection:
    """Asks one server, one request after the other, and connects again where it was cut off."""

    def __init__(self) -> None:
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._at = ""

    async def ask(self, url: str, body: bytes | None = None, kind: str = "image/png") -> Answer:
        """POST a body; GET without one.

        Raises:
            OSError: there is no server, or it cut a fresh connection off.
        """
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        head = f"{'GET' if body is None else 'POST'} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        if body is not None:
            head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        sent = f"{head}\r\n".encode() + (body or b"")
        is_fresh = await self._connect(parts.hostname or "", parts.port or 80)
        try:
            return await self._exchange(sent)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            if is_fresh:
                raise OSError(f"cut off: {error}") from error
        await self._connect(parts.hostname or "", parts.port or 80)
        try:
            return await self._exchange(sent)
        except asyncio.IncompleteReadError as error:
            self.close()
            raise OSError(f"cut off: {error}") from error

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connect(self, host: str, port: int) -> bool:
        """Whether the connection is new."""
        is_there = self._streams is not None and not self._streams[0].at_eof()
        if is_there and self._at == f"{host}:{port}":
            return False
        self.close()
        self._streams = await asyncio.open_connection(host, port)
        self._at = f"{host}:{port}"
        return True

    async def _exchange(self, sent: bytes) -> Answer:
        assert self._streams is not None
        reader, writer = self._streams
        loop = asyncio.get_running_loop()
        began = loop.time()
        writer.write(sent)
        await writer.drain()
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(first.split()[1]), headers, body, loop.time() - began)

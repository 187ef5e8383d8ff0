"""Room: how much may be held at the same time, handed out in the order in which it is asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Room"]


class Room:
    """Units that many share, such as the pixels of decoded pictures. For one event loop.

    Args:
        total: how many there are.

    Attributes:
        free: how many of them nobody has.
    """

    def __init__(self, total: int) -> None:
        self._total = self.free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def of(self, units: int) -> AsyncIterator[None]:
        """So many of them, for as long as the context lasts; what needs more than all gets all."""
        units = min(units, self._total)
        await self._take(units)
        try:
            yield
        finally:
            self._give(units)

    async def _take(self, units: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((units, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(units)
            raise

    def _give(self, units: int) -> None:
        self.free += units
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            units, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
            elif units <= self.free:
                self._waiting.popleft()
                self.free -= units
                turn.set_result(None)
            else:
                return

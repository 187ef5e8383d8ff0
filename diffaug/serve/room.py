"""Room: how much may be held at the same time, handed out in the order in which it is asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

__all__ = ["Held", "Room"]


@dataclass(slots=True, eq=False)
class Held:
    """What one of those that share a room has of it.

    Attributes:
        room: of all.
        units: how many of them it has.
    """

    room: Room
    units: int

    def keep(self, units: int) -> None:
        """Give back what is beyond so many, once it turns out that they will do."""
        if units < self.units:
            more, self.units = self.units - units, units
            self.room.give(more)


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
    async def of(self, units: int) -> AsyncIterator[Held]:
        """So many of them, for as long as the context lasts; what needs more than all gets all."""
        held = Held(self, min(units, self._total))
        await self._take(held.units)
        try:
            yield held
        finally:
            self.give(held.units)

    def give(self, units: int) -> None:
        """Give so many back."""
        self.free += units
        self._admit()

    async def _take(self, units: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((units, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(units)
            raise

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

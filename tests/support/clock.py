"""An event loop whose time passes only when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Clock", "on_a_clock"]

T = TypeVar("T")


class Clock(asyncio.SelectorEventLoop):
    """Waits for sockets as any loop does, and for its timers until `advance` reaches them."""

    now = 0.0

    def time(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, and what is due happen."""
        self.now += seconds
        for _ in range(10):  # a timer, what it wakes, and what that wakes
            await asyncio.sleep(0)


def on_a_clock(main: Callable[[Clock], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=Clock) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Clock)
        return runner.run(main(loop))

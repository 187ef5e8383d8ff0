"""Admission: how much work a server takes on, in seconds, and when to come again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diffaug.errors import DiffaugError
from diffaug.serve.promises import Promises

__all__ = ["Admission", "FullError"]

_AIM = 0.5
"""The part of the queue that is planned to be full when those come who were promised a place: the
rest takes up what the pace does meanwhile."""

_FLOOR = 0.25
"""The part of the queue that is open to all, whatever was promised: the lanes are never idle while
those who were told to come later are away."""

_FAR = 10
"""How many queues are promised at most: whoever only asks and never comes keeps no more out."""


class FullError(DiffaugError):
    """There is more work than is taken on.

    Attributes:
        retry_after: whole seconds after which a place is kept for the same request.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"the server has as much work as it takes on: try again in {retry_after} s"
        )
        self.retry_after = retry_after


class Admission:
    """A queue that is bounded in seconds of work.

    What is refused is promised a place at the time when, by the pace of the network, half of the
    queue will be free after all that was promised before. Until then newcomers find the queue that
    much longer and half as deep, so whoever comes again when told is let in, though the pace may
    have changed. Where promises are not redeemed, they stand in nobody's way (see `Promises`).

    Args:
        most: seconds of work that are taken on.
        pace: seconds a network row, as measured now.
        clock: seconds, from any start.
        progress: network rows that are done of work that is not.
    """

    def __init__(
        self,
        most: float,
        pace: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        progress: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._most, self._pace, self._clock = most, pace, clock
        self._progress = progress
        self._lock = threading.Lock()
        self._rows = 0.0
        self._promises = Promises()

    @property
    def seconds(self) -> float:
        """Seconds of work that were let in and are not done."""
        return self._left * self._pace()

    @property
    def _left(self) -> float:
        """Network rows of what was let in that are still to be done.

        Without the progress, edits that began together would seem to leave no room until they end.
        """
        return max(0.0, self._rows - self._progress())

    @contextmanager
    def place(self, rows: float, who: str) -> Iterator[None]:
        """A place in the queue for as long as the context lasts.

        An empty queue takes anything, however long.

        Args:
            rows: network rows of the work, at most.
            who: tells the same request from others, when it comes again.

        Raises:
            FullError: there is no place.
        """
        self.enter(rows, who)
        try:
            yield
        finally:
            self.leave(rows)

    def enter(self, rows: float, who: str) -> None:
        """Take a place.

        Raises:
            FullError: there is none.
        """
        with self._lock:
            now, pace = self._clock(), self._pace()
            self._promises.forget(now)
            own = self._promises.find(who)
            is_due = own is not None and own.due <= now
            expected = 0.0 if is_due else self._promises.expected(own)
            most = self._most if is_due or not self._promises.rows(own) else _AIM * self._most
            queue = (self._left + expected + rows) * pace
            low = (self._left + rows) * pace <= _FLOOR * self._most
            self._promises.end(who, now)
            if queue > most and not low and self._rows:
                seconds = max(1, math.ceil(queue - _AIM * self._most))
                if expected * pace < _FAR * self._most:
                    self._promises.make(who, now + seconds, rows)
                raise FullError(seconds)
            self._rows += rows

    def leave(self, rows: float) -> None:
        """Give a place up."""
        with self._lock:
            self._rows = max(0.0, self._rows - rows)

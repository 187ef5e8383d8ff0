"""Admission: how much work a server takes on, in seconds, and when to come again."""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from diffaug.errors import DiffaugError
from diffaug.serve.promises import Promises
from diffaug.serve.turns import Turns

__all__ = ["Admission", "FullError"]

_AIM = 0.5
"""The part of the queue that is planned to be full when those come who were promised a place: the
rest takes up what the pace does meanwhile."""

_FLOOR = 0.25
"""The part of the queue that is open to all, whatever was promised: the lanes are never idle while
those who were told to come later are away."""

_SHARE = 0.5
"""The part of the queue that shards may hold: pictures find room in the rest."""

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


@dataclass(slots=True, eq=False)
class _Waiting:
    rows: float
    place: asyncio.Future[None]


class Admission:
    """A queue that is bounded in seconds of work.

    A picture that finds no room is refused; a copy of a shard waits for it, as the shard is then
    read more slowly, and so does a frame of a clip. Room is kept for the copy that has waited
    longest, owner by owner, so that pictures cannot starve shards; and shards hold no more than
    half of the queue, so that they cannot starve pictures.

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
        self._rows = self._of_shards = self._of_clips = 0.0
        self._waiting: Turns[_Waiting] = Turns()
        self._first: _Waiting | None = None  # of those that wait
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

    def check(self, rows: float, who: str) -> None:
        """Refuse at once what has no place. It takes none: who sends slowly keeps nobody out.

        Raises:
            FullError: there is none.
        """
        with self._lock:
            self._refuse(rows, _digest(who))

    def enter(self, rows: float, who: str) -> None:
        """Take a place.

        Raises:
            FullError: there is none.
        """
        same = _digest(who)
        with self._lock:
            self._refuse(rows, same)
            self._promises.end(same, self._clock())
            self._rows += rows

    def leave(self, rows: float) -> None:
        """Give a place up."""
        with self._lock:
            self._rows = max(0.0, self._rows - rows)
            self._let_in()

    @contextmanager
    def clip(self, rows: float) -> Iterator[None]:
        """Announce a clip, whose frames then enter one by one as the copies of a shard do.

        Clips that are announced have as much work as the queue, together; one alone may have any.

        Args:
            rows: network rows of all its frames; 0 announces nothing.

        Raises:
            FullError: there are others, and too much work with it.
        """
        with self._lock:
            seconds = (self._of_clips + rows) * self._pace()
            if rows and self._of_clips and seconds > self._most:
                raise FullError(max(1, math.ceil(seconds - self._most)))
            self._of_clips += rows
        try:
            yield
        finally:
            with self._lock:
                self._of_clips = max(0.0, self._of_clips - rows)

    async def enter_of_shard(self, rows: float, owner: str) -> None:
        """Take a place for a copy of a shard, once there is one.

        Args:
            rows: network rows of the copy.
            owner: whose it is: owners take turns.
        """
        waiting = _Waiting(rows, asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiting.put(waiting, owner)
            self._let_in()
        try:
            await waiting.place
        except asyncio.CancelledError:
            if waiting.place.cancelled():
                with self._lock:
                    self._let_in()  # those behind it
            else:
                self.leave_of_shard(rows)
            raise

    def leave_of_shard(self, rows: float) -> None:
        """Give the place of a shard's copy up."""
        with self._lock:
            self._rows = max(0.0, self._rows - rows)
            self._of_shards = max(0.0, self._of_shards - rows)
            self._let_in()

    def _let_in(self) -> None:
        """Give places to those that wait, as far as there is room."""
        while self._first is not None or self._waiting:
            first = self._first = self._first or self._waiting.take()
            if not first.place.cancelled():
                if not self._has_room(first.rows):
                    return
                self._rows += first.rows
                self._of_shards += first.rows
                first.place.set_result(None)
            self._first = None

    def _has_room(self, rows: float) -> bool:
        """Whether there is room for a copy of a shard."""
        pace = self._pace()
        full = bool(self._rows) and (self._left + rows) * pace > self._most
        share = bool(self._of_shards) and (self._of_shards + rows) * pace > _SHARE * self._most
        return not (full or share)

    def _refuse(self, rows: float, same: bytes) -> None:
        now, pace = self._clock(), self._pace()
        self._promises.forget(now)
        own = self._promises.find(same)
        is_due = own is not None and own.due <= now
        expected = 0.0 if is_due else self._promises.expected(own)
        cost = min(rows * pace, _AIM * self._most) if is_due else rows * pace
        kept = 0.0 if is_due or self._first is None else self._first.rows
        most = self._most if is_due or not self._promises.rows(own) else _AIM * self._most
        queue = (self._left + expected + kept) * pace + cost
        low = (self._left + kept + rows) * pace <= _FLOOR * self._most
        if queue > most and not low and self._rows:
            if own is not None and not is_due:  # it came too early, and keeps its place
                raise FullError(math.ceil(own.due - now))
            rate = 1 - _SHARE if self._of_shards or self._first else 1.0
            seconds = max(1, math.ceil((queue - _AIM * self._most) / rate))
            self._promises.end(same, now)
            if expected * pace < _FAR * self._most:
                self._promises.make(same, now + seconds, rows)
            raise FullError(seconds)


def _digest(who: str) -> bytes:
    """What is kept of a client's text, which may be long."""
    return hashlib.sha256(who.encode()).digest()

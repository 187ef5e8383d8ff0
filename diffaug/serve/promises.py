"""Promises: requests that were refused and told when to come again, and how far to rely on it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

__all__ = ["Promise", "Promises"]

_LATE = 10.0
"""Seconds after the time it was given for which a place is kept for a request."""

_NEWEST = 0.05
"""Weight of the newest promise in the moving average of how many are redeemed."""

_MOST = 10_000
"""Promises at the same time; beyond them requests are told when to come, and have no place."""


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """A place that is kept.

    Attributes:
        due: when the request is to come again, in seconds of a clock.
        rows: network rows of its work.
    """

    due: float
    rows: float


class Promises:
    """Promises by request, and the share of them that is redeemed of late.

    Clients that never come again would keep others out of places that nobody takes. So what is
    promised counts only as much as promises were redeemed before. All of it takes as long however
    many there are. Requests are told apart by digests.
    """

    def __init__(self) -> None:
        self._made: dict[bytes, Promise] = {}
        self._by_due: list[tuple[float, bytes]] = []  # some of them replaced or redeemed since
        self._rows = 0.0
        self._trust = 1.0

    def find(self, who: bytes) -> Promise | None:
        """The promise that a request has; None without one."""
        return self._made.get(who)

    def rows(self, but: Promise | None = None) -> float:
        """Network rows that are promised, apart from one promise."""
        return max(0.0, self._rows - (0.0 if but is None else but.rows)) if self._made else 0.0

    def expected(self, but: Promise | None = None) -> float:
        """Network rows that will come of what is promised, as far as one can tell."""
        return self._trust * self.rows(but)

    def make(self, who: bytes, due: float, rows: float) -> None:
        """Promise a place to a request, which has no other, unless there are too many."""
        if len(self._made) == _MOST:
            return
        self._made[who] = Promise(due, rows)
        self._rows += rows
        heapq.heappush(self._by_due, (due, who))

    def end(self, who: bytes, now: float) -> None:
        """Drop the promise of a request that has come, if it has one."""
        promise = self._made.pop(who, None)
        if promise is not None:
            self._rows -= promise.rows
            if promise.due <= now:
                self._trust += _NEWEST * (1 - self._trust)

    def forget(self, now: float) -> None:
        """Drop promises whose time is over."""
        while self._by_due and self._by_due[0][0] + _LATE < now:
            due, who = heapq.heappop(self._by_due)
            promise = self._made.get(who)
            if promise is not None and promise.due == due:
                del self._made[who]
                self._rows -= promise.rows
                self._trust -= _NEWEST * self._trust

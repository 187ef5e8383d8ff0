"""What the routes of a server share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from diffaug.serve.admission import Admission
from diffaug.serve.limits import Limits
from diffaug.serve.metrics import Metrics
from diffaug.serve.problems import ProblemError, ending, starting
from diffaug.serve.room import Room
from diffaug.serve.service import Service
from diffaug.serve.tokens import Tokens

__all__ = ["State"]

_SHARDS = 4
"""Shards of one owner that are read at the same time."""

_STALLED = 120.0
"""Seconds without a step, though something waits for one, after which a server counts as dead."""

_MEMORY = {"image": 2**30, "clip": 2**31}
"""Bytes of all samples of shards that were read and are not done: members, and what was decoded."""


class State:
    """What the routes share.

    Attributes:
        ready: whether the first network calls were made.
        failure: what went wrong with them, so that the server cannot serve.
        draining: whether the server is about to end.
        active: how many requests for work are under way.
        reads_until: the time of the loop until which bodies of shards are read; None: no end yet.
        shard_memory: bytes for the samples of shards, by their medium.
        shard_copies: how many copies of shards are planned, and have not left their order.
    """

    def __init__(self, service: Service, tokens: Tokens, limits: Limits) -> None:
        self.service, self.tokens, self.limits = service, tokens, limits
        self.admission = Admission(
            limits.wait,
            pace=lambda: service.worker.pace,
            progress=lambda: service.worker.progress,
        )
        service.admission = self.admission
        self.metrics = service.watch = Metrics(service, self.admission)
        self.ready = self.draining = False
        self.failure: Exception | None = None
        self.active = 0
        self.reads_until: float | None = None
        self.shard_copies = 0
        self.shard_memory = {medium: Room(most) for medium, most in _MEMORY.items()}
        self._shards: dict[str, asyncio.Semaphore] = {}

    def end(self, seconds: float) -> None:
        """Take no more requests.

        Args:
            seconds: until the server ends; the bodies of shards are read for half of that.
        """
        self.draining = True
        self.reads_until = time.monotonic() + seconds / 2  # the clock of asyncio's loops

    def turn_of_shard(self, owner: str) -> asyncio.Semaphore:
        """What an owner's shard holds while it is read: the next ones wait."""
        return self._shards.setdefault(owner, asyncio.Semaphore(_SHARDS))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request as under way."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def refuse_unready(self) -> None:
        """Raise the problem that a server is when it starts or ends."""
        if self.draining:
            raise ending()
        if not self.ready:
            raise starting()

    def refuse_stalled(self) -> None:
        """Raise the problem of a server that makes no progress."""
        if self.service.worker.load().stalled > _STALLED:
            raise ProblemError(503, "stalled", "work waits, and none has been done for two minutes")

"""A worker: the lanes of one loaded model, kept busy with edits that come at any time.

The policy of a service, as `ordered` is that of a job: nothing waits for a batch to fill, a lone
edit starts at once, results leave as they are done, and one that needs many calls holds nobody
back. Edits of different recipes share every network call. Since an edit's result depends
neither on its lane nor on its neighbours, it has the same bits as in a job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.latents import Stages
from diffaug.diffusion.steps import Finished
from diffaug.diffusion.transfer import Arrival
from diffaug.errors import DiffaugError
from diffaug.serve.turns import Turns

__all__ = ["ClosedError", "Load", "Pending", "Result", "Worker"]

_NEWEST = 0.02
"""Weight of the newest step in the moving average of the seconds a row, once there were so many of
full lanes that their mean gives it no more."""

Result = NDArray[np.float32]


class Pending(Future[Result]):
    """The future result of an edit, float32 (*), nominally in [-1, 1].

    Attributes:
        waited: seconds until it had a lane, once it has one.
        took: seconds from then to its result, once that is there.
        is_wanted: whether someone waits for the result. If not, it is still made if it has a lane.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waited = self.took = 0.0
        self.is_wanted = True
        self._since = time.monotonic()

    def lap(self) -> float:
        """Seconds since it was made, or since this was last asked."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        return seconds


class ClosedError(DiffaugError, RuntimeError):
    """The worker takes no more edits."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a worker is.

    Attributes:
        waiting: edits that have no lane yet.
        held: lanes that hold one.
        lanes: how many lanes there are.
        seconds: how long all of those take, by the pace so far; 0 before any step.
        stalled: seconds since the last step though something waits for one; 0 if nothing does.
        steps: how many steps there were.
        rows: how many rows of network calls those were.
    """

    waiting: int
    held: int
    lanes: int
    seconds: float
    stalled: float
    steps: int
    rows: int


@dataclass(slots=True, eq=False)
class _Ticket:
    """An edit on its way, and the rows that it still needs."""

    edit: Edit
    future: Pending
    rows: float

    @property
    def share(self) -> float:
        """Rows that it takes a step, on average."""
        return self.edit.rows / self.edit.trajectory.calls


class Worker:
    """Runs edits in a thread of its own, until it is closed.

    Args:
        lanes: nobody else's.
        stages: the autoencoder around them; None if the model works on pictures.
    """

    def __init__(self, lanes: Lanes[Any], stages: Stages | None = None) -> None:
        self._lanes, self._stages = lanes, stages
        self._turns: Turns[_Ticket] = Turns()
        self._held: dict[_Ticket, None] = {}
        self._landing: list[tuple[_Ticket, Arrival]] = []
        self._changed = threading.Condition()  # guards all that `load` reads
        self._is_closed = False
        self._steps, self._done, self._progress = 0, 0.0, 0.0
        self._pace, self._full = 0.0, 0  # steps of full lanes
        self._last = self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="diffaug-worker", daemon=True)
        self._thread.start()

    def submit(self, edit: Edit, owner: str = "") -> Pending:
        """The future result of an edit.

        One that is cancelled before its edit has a lane costs nothing. What goes wrong with the
        edit, such as an `OutOfMemoryError`, is the future's exception.

        Args:
            edit: of a picture.
            owner: whose it is: owners are served in turn.

        Raises:
            ClosedError: the worker is closed.
        """
        ticket = _Ticket(edit, Pending(), edit.rows)
        with self._changed:
            if self._is_closed:
                raise ClosedError("the worker is closed")
            if not self._is_busy:
                self._last = time.monotonic()
            self._turns.put(ticket, owner)
            self._changed.notify()
        return ticket.future

    @property
    def pace(self) -> float:
        """Seconds that a row takes in a full step; 0 before any step."""
        return self._pace

    @property
    def progress(self) -> float:
        """Rows of network calls that are done of edits that hold a lane and that someone wants."""
        return self._progress

    def load(self) -> Load:
        """How busy it is. Never waits for a step."""
        with self._changed:
            rows = sum(ticket.rows for ticket in (*self._turns, *self._held))
            return Load(
                waiting=len(self._turns),
                held=len(self._held),
                lanes=self._lanes.count,
                seconds=rows * self._pace,
                stalled=time.monotonic() - self._last if self._is_busy else 0.0,
                steps=self._steps,
                rows=round(self._done),
            )

    def close(self, seconds: float | None = None) -> bool:
        """Take no more edits, and end once those that are here are done.

        Args:
            seconds: how long to wait for that; None: as long as it takes.

        Returns:
            Whether it has ended.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def _is_busy(self) -> bool:
        return bool(self._held) or len(self._turns) > 0

    def _run(self) -> None:
        while (entering := self._next()) is not None:
            try:
                self._enter(entering)
                ended = self._lanes.step()
                self._moved()
                self._landing += ended
                self._deliver()
            except Exception as error:  # whatever it is, those who wait for a result are told
                self._fail(error)

    def _next(self) -> list[_Ticket] | None:
        """What enters the free lanes; waits only where there is nothing else to do. None: the end.

        Those that enter are held from here on.
        """
        with self._changed:
            while not (self._is_busy or self._landing):
                if self._is_closed:
                    return None
                self._changed.wait()
                self._begun = time.monotonic()
            entering: list[_Ticket] = []
            while self._turns and len(self._held) < self._lanes.count:
                ticket = self._turns.take()
                if ticket.future.set_running_or_notify_cancel():
                    ticket.future.waited = ticket.future.lap()
                    entering.append(ticket)
                    self._held[ticket] = None
            return entering

    def _enter(self, tickets: list[_Ticket]) -> None:
        edits: Iterable[tuple[_Ticket, Edit | None]] = ((one, one.edit) for one in tickets)
        if self._stages is not None:
            edits = self._stages.encoded(edits, max(1, len(tickets)))
        self._lanes.enter([(ticket, edit) for ticket, edit in edits if edit is not None])

    def _moved(self) -> None:
        """Take note of a step of every lane that holds an edit, and of all that was done since."""
        with self._changed:
            now = time.monotonic()
            seconds, self._begun = now - self._begun, now
            shares = {ticket: min(ticket.share, ticket.rows) for ticket in self._held}
            for ticket, share in shares.items():
                ticket.rows -= share
            if rows := sum(shares.values()):
                # free lanes cost as much, so this is too little if anything, where some are free
                pace = seconds * len(shares) / (rows * self._lanes.count)
                full = len(shares) == self._lanes.count
                if full or pace < self._pace or not self._full:
                    self._full += full
                    self._pace += max(_NEWEST, 1 / max(1, self._full)) * (pace - self._pace)
                self._steps += 1
                self._done += rows
            self._count_progress()
            self._last = now

    def _deliver(self) -> None:
        """Hand over what has arrived; where nothing else is to be done, wait for the rest."""
        with self._changed:
            for ticket in [one for one, _ in self._landing if one in self._held]:
                del self._held[ticket]
            self._count_progress()
            wait = not self._is_busy
        arrived = {one: at for one, at in self._landing if wait or at.landed}
        finished: Finished[_Ticket] = [(one, at.numpy()) for one, at in arrived.items()]
        self._landing = [(one, at) for one, at in self._landing if one not in arrived]
        if self._stages is None:
            self._hand_over(finished)
            return
        try:
            for pictures in self._stages.decoded([finished], max(1, len(finished))):
                self._hand_over(pictures)
        except Exception as error:
            for ticket, _ in finished:
                if not ticket.future.done():
                    ticket.future.set_exception(error)

    def _hand_over(self, finished: Finished[_Ticket]) -> None:
        for ticket, result in finished:
            assert result is not None
            ticket.future.took = ticket.future.lap()
            ticket.future.set_result(result)

    def _fail(self, error: Exception) -> None:
        """A step, or what comes before it, went wrong: so did everything that is in the lanes."""
        with self._changed:
            failed = dict.fromkeys([*self._held, *(one for one, _ in self._landing)])
            self._held.clear()
            self._landing.clear()
            self._progress = 0.0
            self._last = self._begun = time.monotonic()
        self._lanes.clear()
        for ticket in failed:
            if not ticket.future.done():
                ticket.future.set_exception(error)

    def _count_progress(self) -> None:
        wanted = (one for one in self._held if one.future.is_wanted)
        self._progress = sum(one.edit.rows - one.rows for one in wanted)

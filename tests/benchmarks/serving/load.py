"""Load: many clients of a server at the same time, in a process of their own.

    python -m tests.benchmarks.serving.load LOADS.json ANSWERS.json

A closed load has so many clients, each of which sends its next request once the last is answered;
an open one sends at given moments, whatever happened to those before. Several loads run side by
side in one process, so that what that process costs is the same for all of them. The process
reports the processor time that it used, which a measurement on shared cores has to take into
account.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

from tests.benchmarks.serving.connection import Connection
from tests.support.forks import ROOT

__all__ = ["Ask", "Got", "Load", "Loaded", "apart", "here"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        url: where to.
        body: path of the file to post; None: a GET.
    """

    url: str
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Requests, and when they are sent.

    Attributes:
        asks: in this order.
        clients: of a closed load, how many.
        pause: a client's pause before each request is drawn from 0 to so many seconds.
        ramp: seconds over which the clients begin, one after the other.
        arrivals: the seconds at which requests are sent; None: a closed load.
        seconds: a closed load begins again and again until then, and each client sends one request
            at least; None: each request is sent once.
        obeys: whether a client that is refused comes again when it was told to.
        seed: of the pauses.
    """

    asks: Sequence[Ask]
    clients: int = 1
    pause: float = 0.0
    ramp: float = 0.0
    arrivals: Sequence[float] | None = None
    seconds: float | None = None
    obeys: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Got:
    """One answer.

    Attributes:
        ask: the number of its request.
        tries: which attempt at it this was, from 1.
        sent: seconds since the start; of an open load, when it was due.
        seconds: how long it took from then on.
        status: of HTTP; 0: the connection was cut.
        retry_after: seconds, as the answer said.
        sha256: of the body.
    """

    ask: int
    tries: int
    sent: float
    seconds: float
    status: int
    retry_after: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What happened.

    Attributes:
        got: the answers to each load.
        wall: seconds from the first request to the last answer.
        cpu: seconds of processor time of all clients.
    """

    got: list[list[Got]] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0


def here(loads: Sequence[Load]) -> Loaded:
    """Run the loads side by side in this process."""
    return asyncio.run(_all(loads))


def apart(loads: Sequence[Load], folder: Path) -> Loaded:
    """Run the loads side by side in a process of their own.

    Args:
        loads: at least one.
        folder: for two files.
    """
    asked, answered = folder / "loads.json", folder / "answers.json"
    asked.write_text(json.dumps([asdict(load) for load in loads]))
    command = [sys.executable, "-m", "tests.benchmarks.serving.load", str(asked), str(answered)]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    found = json.loads(answered.read_text())
    got = [[Got(**one) for one in answers] for answers in found["got"]]
    return Loaded(got, found["wall"], found["cpu"])


async def _all(loads: Sequence[Load]) -> Loaded:
    bodies = {
        ask.body: Path(ask.body).read_bytes()
        for load in loads
        for ask in load.asks
        if ask.body is not None
    }
    cpu, began = _cpu(), asyncio.get_running_loop().time()
    runs = [_Run(load, bodies, began) for load in loads]
    await asyncio.gather(*(run.to_the_end() for run in runs))
    wall = asyncio.get_running_loop().time() - began
    return Loaded([run.got for run in runs], wall, _cpu() - cpu)


class _Run:
    """A load under way."""

    def __init__(self, load: Load, bodies: dict[str, bytes], began: float) -> None:
        self._load, self._bodies, self._began = load, bodies, began
        self._random = random.Random(load.seed)
        self.got: list[Got] = []

    async def to_the_end(self) -> None:
        if self._load.arrivals is None:
            turns = self._turns()
            clients = self._load.clients
            starts = (self._load.ramp * number / clients for number in range(clients))
            await asyncio.gather(*(self._client(turns, start) for start in starts))
        else:
            await self._open(self._load.arrivals)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    def _turns(self) -> Iterator[int]:
        order = range(len(self._load.asks))
        if self._load.seconds is None:
            yield from order
            return
        for number, at in enumerate(chain.from_iterable(repeat(order))):
            if number >= self._load.clients and self._now() >= self._load.seconds:
                return
            yield at

    async def _client(self, turns: Iterator[int], start: float) -> None:
        await asyncio.sleep(start)
        connection = Connection()
        for at in turns:
            if self._load.pause:
                await asyncio.sleep(self._random.uniform(0, self._load.pause))
            if not await self._ask(connection, at, self._now):
                break
        connection.close()

    async def _open(self, arrivals: Sequence[float]) -> None:
        idle: list[Connection] = []
        async with asyncio.TaskGroup() as group:
            async for at, due in self._due(arrivals):
                connection = idle.pop() if idle else Connection()
                group.create_task(self._one(connection, at, due, idle))
        for connection in idle:
            connection.close()

    async def _due(self, arrivals: Sequence[float]) -> AsyncIterator[tuple[int, float]]:
        for at, due in enumerate(arrivals):
            if (wait := due - self._now()) > 0:
                await asyncio.sleep(wait)
            yield at % len(self._load.asks), due

    async def _one(
        self, connection: Connection, at: int, due: float, idle: list[Connection]
    ) -> None:
        await self._ask(connection, at, lambda: due)
        idle.append(connection)

    async def _ask(self, connection: Connection, at: int, begins: Any) -> bool:
        """Ask until it is answered, coming again if the load does.

        Returns:
            Whether there is time for more: not for who is to come again after the end.
        """
        ask, ends = self._load.asks[at], self._load.seconds
        body = None if ask.body is None else self._bodies[ask.body]
        for tries in range(1, 1000):
            sent = begins()
            try:
                answer = await connection.ask(ask.url, body)
            except OSError:
                self.got.append(Got(at, tries, sent, self._now() - sent, 0, None, ""))
                return True
            again = answer.headers.get("retry-after")
            after = None if again is None else int(again)
            digest = hashlib.sha256(answer.body).hexdigest()
            seconds = self._now() - sent
            self.got.append(Got(at, tries, sent, seconds, answer.status, after, digest))
            if not self._load.obeys or after is None:
                return True
            if ends is not None and self._now() + after >= ends:
                return False
            await asyncio.sleep(after)
            begins = self._now
        return True


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _main() -> None:
    asked, answered = map(Path, islice(sys.argv, 1, 3))
    loads = [
        Load(**load | {"asks": [Ask(**ask) for ask in load["asks"]]})
        for load in json.loads(asked.read_text())
    ]
    answered.write_text(json.dumps(asdict(here(loads))))


if __name__ == "__main__":
    _main()

"""A server that is asked for five times more than it can do.

First by clients that obey Retry-After, five times as many as there is room for, then by an open
load, whose clients come whatever they are told. A bare responder in another process is asked
by the same clients at the same time: it shows what the machine and HTTP take by themselves.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile
from pathlib import Path

from tests.benchmarks.serving.load import Ask, Got, Load, Loaded
from tests.benchmarks.serving.pictures import GREY, Picture, pictures
from tests.benchmarks.serving.processes import Served, Starts, resident, served, watched
from tests.benchmarks.serving.recipes import Fields, ask, bodies, diffaug_serves, lanes
from tests.benchmarks.serving.tables import Row, Tables, percentile

__all__ = ["BARE", "overload"]

BARE = "tests.benchmarks.serving.bare:main"

_PROBES = 10.0
"""Probes of each kind a second."""

_SEVERAL = 5
"""How many times more is asked for than can be done."""

Loads = Callable[[Sequence[Load]], Loaded]


def overload(
    starts: Starts,
    folder: Path,
    *,
    loads: Loads,
    seconds: float = 120.0,
    model: str = GREY,
    steps: int = 10,
    max_wait: float = 8.0,
    batch_size: int = 32,
    first: int = 256,
) -> Tables:
    """Overload a server for so many seconds, twice.

    Args:
        starts: of the servers.
        folder: for everything.
        loads: runs the clients.
        seconds: of either load.
        model: its name.
        steps: of a recipe of strength 0.4.
        max_wait: of the server.
        batch_size: of the server.
        first: pictures by which the rate is measured before.

    Raises:
        AssertionError: an answer is neither a picture nor a refusal that says when to come again.
    """
    recipe: Fields = {"model": model, "steps": steps, "strength": 0.4, "format": "png"}
    found = pictures(model, first)
    paths = bodies(folder / "bodies", found)
    options = ("--max-wait", str(max_wait))
    with (
        diffaug_serves(starts, folder / "recipes", {"one": recipe}, batch_size, *options) as server,
        served(starts, entry=BARE) as bare,
    ):
        asks = _Asks(server, found, paths)
        done = loads([Load(asks.some(first), clients=2 * lanes(batch_size), obeys=True)])
        rate = first / done.wall
        with watched(server.process.pid, seconds / 120, resident) as memory:
            obeyed = _closed(loads, asks, bare, rate, seconds, max_wait)
            came = _open(loads, asks, bare, rate, seconds)
    return {
        "Clients that come again when told": obeyed,
        f"Five times the rate of {rate:.3g} images/s: seconds until an answer": came,
        "Memory, MB": [_spread(memory)],
    }


class _Asks:
    """Requests that all differ."""

    def __init__(self, server: Served, found: list[Picture], paths: dict[str, str]) -> None:
        self.server, self._found, self._paths, self._copy = server, found, paths, 0

    def some(self, count: int) -> list[Ask]:
        """So many, none of which was there before."""
        asks = []
        for _ in range(count):
            self._copy += 1
            one = self._found[self._copy % len(self._found)]
            asks.append(ask(self.server, one, self._paths[one.key], "one", self._copy))
        return asks


def _open(loads: Loads, asks: _Asks, bare: Served, rate: float, seconds: float) -> list[Row]:
    arrivals = _arrivals(_SEVERAL * rate, seconds, 0)
    posted = asks.some(len(arrivals))
    done = loads([Load(posted, arrivals=arrivals), *_probes(asks.server, bare, posted[0], seconds)])
    answers, *probes = done.got
    _check(answers)
    refused = [got for got in answers if got.status == 429]
    admitted = [got for got in answers if got.status == 200]
    named = {"refused": refused, "admitted": admitted} | dict(zip(_NAMES, probes, strict=True))
    return [_times(name, got) for name, got in named.items()]


def _closed(
    loads: Loads, asks: _Asks, bare: Served, rate: float, seconds: float, max_wait: float
) -> list[Row]:
    clients = max(_SEVERAL, round(_SEVERAL * rate * max_wait))
    enough = asks.some(round(3 * rate * seconds) + clients)
    load = Load(enough, clients, seconds=seconds, obeys=True, ramp=seconds / 20)
    done = loads([load, *_probes(asks.server, bare, enough[0], seconds)])
    answers, *probes = done.got
    _check(answers)
    again = [got for got in answers if got.tries > 1]
    refused = [got for got in answers if got.status == 429]
    second = [got for got in answers if got.tries == 2]
    return [
        {
            "clients": clients,
            "served": sum(got.status == 200 for got in answers),
            "came again": len(again),
            "admitted of those": _share(again),
            "admitted at the second try": _share(second),
            "most tries": max(got.tries for got in answers),
            "p99 of refused, s": percentile([got.seconds for got in refused], 0.99),
        }
        | {
            f"p99 of {name}, s": percentile([got.seconds for got in probe], 0.99)
            for name, probe in zip(_NAMES, probes, strict=True)
        }
    ]


_NAMES = ("livez", "bare GET", "bare POST")


def _probes(server: Served, bare: Served, post: Ask, seconds: float) -> list[Load]:
    asks = (Ask(f"{server.url}/livez"), Ask(f"{bare.url}/"), Ask(f"{bare.url}/", post.body))
    return [
        Load([one], arrivals=_arrivals(_PROBES, seconds, seed))
        for seed, one in enumerate(asks, start=1)
    ]


def _arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    gaps = random.Random(seed)
    moments = accumulate((gaps.expovariate(rate) for _ in iter(int, 1)), initial=0.0)
    return list(takewhile(lambda moment: moment < seconds, moments))


def _check(answers: Sequence[Got]) -> None:
    for got in answers:
        told = got.retry_after is not None and got.retry_after > 0
        assert got.status == 200 or (got.status == 429 and told), got


def _times(name: str, answers: Sequence[Got]) -> Row:
    times = [got.seconds for got in answers]
    shares = {f"p{share}": percentile(times, share / 100) for share in (50, 90, 99)}
    return {"what": name, "answers": len(answers)} | shares


def _share(answers: Sequence[Got]) -> float | None:
    return sum(got.status == 200 for got in answers) / len(answers) if answers else None


def _spread(memory: list[float]) -> Row:
    """The most in each tenth of the time."""
    tenths = [memory[len(memory) * at // 10 : len(memory) * (at + 1) // 10] for at in range(10)]
    return {f"{10 * at}%": max(tenth, default=None) for at, tenth in enumerate(tenths, start=1)}

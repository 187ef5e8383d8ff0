"""What a server does at most, beside a job and beside a server that batches statically.

Image-calls a second are the network calls that images needed, over all of the time. Where clients
use the server's cores, on a CPU, the time that they take from it, their processor time over the
number of cores, is not counted; `images, clients and all` counts it. There are twice as many
clients as the larger of the two servers has lanes. The latency is that of requests that
come at random (Poisson), half as many as the slower of the two servers can do, and begins when a
request was due.
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median

from PIL import Image

import diffaug
from diffaug.editor import PictureEditor
from diffaug.execution import Execution
from diffaug.models import checkpoint_of
from diffaug.recipe import Recipe
from tests.benchmarks.serving.load import Ask, Load, Loaded
from tests.benchmarks.serving.pictures import COLOUR, made, pictures, planned, write_shard
from tests.benchmarks.serving.processes import Served, Starts, cpu_seconds, served
from tests.benchmarks.serving.recipes import Fields, ask, bodies, diffaug_serves, lanes
from tests.benchmarks.serving.tables import Row, Tables, percentile
from tests.support.drafts import draft_copies
from tests.support.serving import recipe_file

__all__ = ["STATIC", "saturation"]

STATIC = "tests.benchmarks.serving.static:main"

Loads = Callable[[Sequence[Load]], Loaded]


@dataclass(frozen=True, slots=True)
class _Rate:
    """One arm in one round; times are in seconds an image.

    Attributes:
        calls: of the network, an image.
        wall: of all.
        clients: of the processor, by clients.
        server: of the processor, by the arm.
        shared: cores that the arm has in common with the clients; 0 if its network is elsewhere.
    """

    calls: float
    wall: float
    clients: float
    server: float
    shared: int

    @property
    def images(self) -> float:
        taken = self.clients / self.shared if self.shared else 0.0
        return 1 / (self.wall - taken)

    @property
    def row(self) -> Row:
        return {
            "image-calls/s": self.calls * self.images,
            "images/s": self.images,
            "images/s, clients and all": 1 / self.wall,
            "processor of the arm, ms an image": 1000 * self.server,
            "processor of clients, ms an image": 1000 * self.clients,
        }


class _Bench:
    """The pictures, and the arms."""

    def __init__(
        self, starts: Starts, folder: Path, model: str, count: int, batch_size: int, loads: Loads
    ) -> None:
        self.folder, self.batch_size = folder, batch_size
        self._starts, self._loads = starts, loads
        self._found = pictures(model, count)
        self._shard = write_shard(folder / "source.tar", self._found)
        self._paths = bodies(folder / "bodies", self._found)
        self._jobs = 0
        on_cpu = Execution.choose(batch_size).device == "cpu"
        self._shared = len(os.sched_getaffinity(0)) if on_cpu else 0

    def calls(self, fields: Fields) -> float:
        """Network calls an image of the recipe, on average."""
        recipe = Recipe(**fields)
        editor = PictureEditor(recipe, checkpoint_of(recipe), Execution.choose(self.batch_size))
        calls = []
        for one in self._found:
            with Image.open(self._paths[one.key]) as image:
                (draft,) = draft_copies(editor, image, {}, range(1))
                calls.append(draft.calls)
        return sum(calls) / len(calls)

    def job(self, fields: Fields, calls: float) -> _Rate:
        """A job over all pictures, planned and with its model loaded."""
        self._jobs += 1
        output = self.folder / f"job-{self._jobs}"
        run = planned(self._shard, output, fields, self.batch_size)
        before, began = time.process_time(), time.perf_counter()
        list(diffaug.augment_shards(run.sources, str(output), run=run))
        wall = time.perf_counter() - began
        count = len(self._found)
        assert len(made(output)) == count
        used = time.process_time() - before
        return _Rate(calls, wall / count, 0.0, used / count, self._shared)

    def full(self, server: Served, clients: int, calls: float, recipe: str) -> _Rate:
        """As many clients as it takes to keep a server busy, until each picture was answered."""
        asks, before = self._asks(server, recipe), cpu_seconds(server.process.pid)
        done = self._loads([Load(asks, clients)])
        assert [got.status for got in done.got[0]] == [200] * len(asks)
        used = cpu_seconds(server.process.pid) - before
        wall, cpu, server_cpu = (value / len(asks) for value in (done.wall, done.cpu, used))
        return _Rate(calls, wall, cpu, server_cpu, self._shared)

    def at_random(self, server: Served, rate: float, recipe: str) -> list[float]:
        """The latencies of all pictures, of which so many a second come."""
        asks = self._asks(server, recipe)
        gaps = random.Random(0)
        arrivals = list(accumulate(gaps.expovariate(rate) for _ in asks))
        done = self._loads([Load(asks, arrivals=arrivals)])
        assert [got.status for got in done.got[0]] == [200] * len(asks)
        return [got.seconds for got in done.got[0]]

    def _asks(self, server: Served, recipe: str) -> list[Ask]:
        return [ask(server, one, self._paths[one.key], recipe, 0) for one in self._found]


def saturation(
    starts: Starts,
    folder: Path,
    *,
    loads: Loads,
    count: int = 512,
    rounds: int = 3,
    model: str = COLOUR,
    steps: int = 10,
    drawn_steps: int = 20,
    batch_size: int = 32,
    static_batch_size: int = 32,
    pads: bool = False,
) -> Tables:
    """Measure all arms in turn, so many rounds.

    Args:
        starts: of the two servers.
        folder: for everything.
        loads: runs the clients.
        count: pictures of each arm in each round.
        rounds: after one that is not counted.
        model: its name.
        steps: of the recipe of strength 0.8 that server and job are compared with.
        drawn_steps: of that of strengths from 0.2 to 0.8, for the two servers.
        batch_size: of job and server.
        static_batch_size: what the static server collects at most.
        pads: whether the static server's calls have the batch's shape, however few edits.
    """
    common: Fields = {"model": model, "format": "png", "sampler": "ddim"}
    one = common | {"strength": 0.8, "steps": steps}
    drawn = common | {"strength": "0.2:0.8", "steps": drawn_steps}
    bench = _Bench(starts, folder, model, count, batch_size, loads)
    clients = 2 * lanes(max(batch_size, static_batch_size))
    calls = {"one": bench.calls(one), "drawn": bench.calls(drawn)}
    static_options: tuple[str | Path, ...] = ("--recipe", recipe_file(folder, "static", **drawn))
    static_options += ("--batch-size", str(static_batch_size), *(["--pads"] if pads else []))
    with ExitStack() as stack:
        recipes = {"one": one, "drawn": drawn}
        ours = stack.enter_context(
            diffaug_serves(starts, folder / "recipes", recipes, batch_size, "--max-wait", "100000")
        )
        static = stack.enter_context(served(starts, *static_options, entry=STATIC))
        arms: dict[str, Callable[[], _Rate]] = {
            "job": lambda: bench.job(one, calls["one"]),
            "serve": lambda: bench.full(ours, clients, calls["one"], "one"),
            "serve, drawn": lambda: bench.full(ours, clients, calls["drawn"], "drawn"),
            "static, drawn": lambda: bench.full(static, clients, calls["drawn"], "drawn"),
        }
        measured: dict[str, list[_Rate]] = defaultdict(list)
        for number in range(rounds + 1):
            for arm in list(arms) if number % 2 == 0 else reversed(arms):
                rate = arms[arm]()
                if number > 0:
                    measured[arm].append(rate)
        ratios = {
            "serve over job": _ratio(measured["serve"], measured["job"]),
            "serve over static": _ratio(measured["serve, drawn"], measured["static, drawn"]),
        }
        half = min(median(one.images for one in measured[arm]) for arm in list(arms)[2:]) / 2
        waits = {
            name: bench.at_random(server, half, "drawn")
            for name, server in (("serve", ours), ("static", static))
        }
    return {
        "At saturation (medians)": [{"arm": arm} | _median(measured[arm]) for arm in arms],
        "Ratios": [
            {"ratio": name, "median": median(found), "least": min(found), "most": max(found)}
            for name, found in ratios.items()
        ],
        f"Seconds of a request at half load ({half:.3g} images/s)": [
            {"arm": name}
            | {f"p{share}": percentile(found, share / 100) for share in (50, 90, 99)}
            | {"requests": len(found)}
            for name, found in waits.items()
        ],
    }


def _ratio(these: Sequence[_Rate], those: Sequence[_Rate]) -> list[float]:
    return [this.images / that.images for this, that in zip(these, those, strict=True)]


def _median(rates: Sequence[_Rate]) -> Row:
    rows = [rate.row for rate in rates]
    return {name: median(row[name] for row in rows) for name in rows[0]}

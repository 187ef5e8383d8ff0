"""SIGKILLs of servers under a running epoch, and whether it is as if there had been none.

Two servers are behind one `RemoteAugmenter`. Again and again one of them is killed, once so many
more images have come, and started again at the same port; the next may be killed before it is up.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import diffaug
from tests.benchmarks.serving.pictures import (
    GREY,
    Picture,
    as_samples,
    digest,
    digest_of,
    job,
    pictures,
    write_shard,
)
from tests.benchmarks.serving.processes import PATIENCE, Process, Starts, is_ready
from tests.benchmarks.serving.recipes import Fields
from tests.benchmarks.serving.tables import Tables
from tests.support.services import free_ports, wait_until
from tests.support.serving import recipe_file

__all__ = ["kills"]


def kills(
    starts: Starts,
    folder: Path,
    *,
    kills: int = 100,
    count: int = 200,
    gap: int = 20,
    jitter: float = 0.5,
    model: str = GREY,
    steps: int = 10,
    batch_size: int = 32,
    seed: int = 0,
) -> Tables:
    """Run epochs until there were so many kills.

    Args:
        starts: of the servers.
        folder: for everything.
        kills: how many.
        count: pictures of an epoch, each of two copies.
        gap: images from one kill to the next at most.
        jitter: seconds at most from an image to the kill that follows it.
        model: its name.
        steps: of a recipe of strengths from 0.2 to 0.8.
        batch_size: of the servers.
        seed: of who is killed when.

    Raises:
        AssertionError: an image is lost, doubled, out of order or another than a job's.
    """
    recipe: Fields = {"model": model, "strength": "0.2:0.8", "steps": steps, "copies": 2}
    found = pictures(model, count)
    made = job(write_shard(folder / "in.tar", found), folder / "job", recipe, batch_size)
    expected = [
        (f"{one.key}-a{copy}", digest_of(made[one.key, copy])) for one in found for copy in (0, 1)
    ]
    arguments = ("--recipe", recipe_file(folder, "one", **recipe), "--batch-size", str(batch_size))
    began, epochs, images = time.monotonic(), 0, 0
    with ExitStack() as stack:
        servers = [_Server(starts, port, arguments) for port in free_ports(2)]
        for server in servers:
            stack.callback(server.close)
        for server in servers:
            server.wait()
        storm = _Storm(servers, kills, gap, jitter, seed)
        stage = diffaug.RemoteAugmenter([server.url for server in servers], recipe)
        while storm.left:
            epochs += 1
            got = list(_through(stage, found, storm.seen))
            assert got == expected, _first_difference(got, expected)
            images += len(got)
    return {
        "Kills": [
            {
                "kills": kills,
                "with no server up": storm.alone,
                "epochs": epochs,
                "images": images,
                "lost, doubled, reordered or different": 0,
                "seconds": time.monotonic() - began,
            }
        ]
    }


def _through(
    stage: Any, found: list[Picture], seen: Callable[[], None]
) -> Iterator[tuple[str, str]]:
    for sample in stage(as_samples(found)):
        yield sample["__key__"], digest(sample["png"])
        seen()


def _first_difference(got: list[tuple[str, str]], expected: list[tuple[str, str]]) -> str:
    for at, (one, other) in enumerate(zip(got, expected, strict=False)):
        if one != other:
            return f"image {at} is {one}, not {other}"
    return f"{len(got)} images, not {len(expected)}"


class _Server:
    """A server that comes again at its port."""

    def __init__(self, starts: Starts, port: int, arguments: tuple[str | Path, ...]) -> None:
        self._starts, self._port, self._arguments = starts, port, arguments
        self.url = f"http://127.0.0.1:{port}"
        self._process: Process = self._started()

    @property
    def is_ready(self) -> bool:
        return is_ready(self._port)

    def wait(self) -> None:
        wait_until(lambda: self.is_ready, PATIENCE, self._process.err, self._process)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait() == -signal.SIGKILL
        self._process.close()
        self._process = self._started()

    def close(self) -> None:
        self._process.close()

    def _started(self) -> Process:
        return self._starts.start("serve", *self._arguments, "--port", str(self._port))


class _Storm:
    """Kills a server after each so many images, as long as there are kills left.

    Attributes:
        left: kills to come.
        alone: kills after which no server was up.
    """

    def __init__(
        self, servers: list[_Server], kills: int, gap: int, jitter: float, seed: int
    ) -> None:
        self._servers, self.left, self.alone = servers, kills, 0
        self._gap, self._jitter, self._random = gap, jitter, random.Random(seed)
        self._until = self._random.randint(1, gap)

    def seen(self) -> None:
        """One more image has come."""
        self._until -= 1
        if self._until > 0 or not self.left:
            return
        time.sleep(self._random.uniform(0, self._jitter))
        up = [server for server in self._servers if server.is_ready]
        if not up:  # what has come was made before
            return
        self._random.choice(up).kill()
        self.alone += len(up) == 1
        self.left -= 1
        self._until = self._random.randint(1, self._gap)

"""The order of samples: split over ranks and workers, shuffled, and mixed, all by (seed, epoch)."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, NamedTuple

import webdataset as wds
from torch.utils.data import get_worker_info
from webdataset.utils import pytorch_worker_info

from diffaug.dataset.decode import Decoder
from diffaug.dataset.sides import Side
from diffaug.epoch import Epoch
from diffaug.errors import ConfigError

__all__ = ["Mixture", "ranks"]

Decoded = dict[str, Any]


class _Process(NamedTuple):
    """Which process this is, in webdataset's words, and the epoch it is at."""

    rank: int
    world_size: int
    worker: int
    num_workers: int
    epoch: int


@dataclass
class Mixture:
    """A stage of a webdataset pipeline that yields one epoch's samples for this process.

    Attributes:
        real: real samples, if any are wanted.
        augmented: augmented ones, if any are wanted.
        decoder: makes samples of what either reads.
        p: how probable it is that a sample drawn is augmented.
        ratio: how many real and augmented ones follow each other, in place of `p`.
        samples: how many samples an epoch has over all ranks; None for each exactly once.
        buffer: how many samples of a side are held to draw the next one from.
        seed: of the order and of the draws.
    """

    real: Side | None
    augmented: Side | None
    decoder: Decoder
    p: float
    ratio: tuple[int, int] | None
    samples: int | None
    buffer: int
    seed: int

    def __post_init__(self) -> None:
        self.epoch = Epoch()
        self._began_by: tuple[int, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is spawned does not know of its parent's process group: it is told."""
        return self.__dict__ | {"_began_by": ranks()}

    def __call__(self) -> Iterator[Decoded]:
        """Yield the samples of the epoch that is set.

        Raises:
            ConfigError: a side has no sample that can be used.
        """
        process = self._process()
        sides = [side for side in (self.real, self.augmented) if side is not None]
        if self.samples is None:
            once = [self._pass(side, process, None) for side in sides]
            yield from wds.RoundRobin(once, longest=True)
            return
        streams = [self._without_end(side, process) for side in sides]
        yield from islice(self._mixed(streams, process), self._share(self.samples, process))

    def _process(self) -> _Process:
        if self._began_by is not None and self._began_by[1] > 1 and get_worker_info() is not None:
            for name, value in zip(("RANK", "WORLD_SIZE"), self._began_by, strict=True):
                os.environ.setdefault(name, str(value))  # as launchers do; webdataset looks there
        rank, world_size, worker, num_workers = pytorch_worker_info()
        return _Process(rank, world_size, worker, num_workers, self.epoch.get())

    @staticmethod
    def _share(samples: int, process: _Process) -> int:
        """Every rank has as many as every other, whatever the shards."""
        of_rank = max(1, samples // process.world_size)
        return of_rank // process.num_workers + (process.worker < of_rank % process.num_workers)

    def _mixed(self, streams: list[Iterator[Decoded]], process: _Process) -> Iterator[Decoded]:
        if len(streams) == 1:
            return streams[0]
        if self.ratio is not None:
            turns = [
                stream
                for stream, times in zip(streams, self.ratio, strict=True)
                for _ in range(times)
            ]
            return iter(wds.RoundRobin(turns))
        draws = self._random("mix", process)
        return iter(_SeededMix(streams, [1 - self.p, self.p], draws))

    def _without_end(self, side: Side, process: _Process) -> Iterator[Decoded]:
        """Pass after pass over the side's shards, each time split anew."""
        for number in count():
            found = False
            for split in (True, False):  # what falls to this process can be nothing: then all is
                for sample in self._pass(side, process, number, split):
                    found = True
                    yield sample
                if found:
                    break
            if not found:
                raise ConfigError(
                    f"no sample of the {side.name} shards can be used: the log names those skipped"
                )

    def _pass(
        self, side: Side, process: _Process, number: int | None, split: bool = True
    ) -> Iterator[Decoded]:
        """What falls to this process of one pass over a side; None: unshuffled.

        Shards are split where there are enough of them, samples where there are not.
        """
        shards = list(side.shards)
        if number is not None:
            # the same on every rank, or their parts would overlap
            random.Random(f"{self.seed} {process.epoch} {side.name} {number}").shuffle(shards)
        if not split:
            raws = side.read(shards, iter)
        elif len(shards) >= process.world_size * process.num_workers:
            raws = side.read(_split(iter(shards)), iter)
        else:
            raws = side.read(shards, _split)
        if number is not None and self.buffer > 1:
            draws = self._random(f"{side.name} {number}", process)
            raws = wds.shuffle(self.buffer, rng=draws)(raws)
        return self.decoder(raws, process.worker)

    def _random(self, what: str, process: _Process) -> random.Random:
        place = f"{process.rank} {process.worker}/{process.num_workers}"
        return random.Random(f"{self.seed} {process.epoch} {what} {place}")


class _SeededMix(wds.RandomMix):  # type: ignore[misc]  # webdataset has no types
    """webdataset's mix by probability, but not drawn from Python's global generator."""

    def __init__(
        self, datasets: list[Iterator[Decoded]], probs: list[float], draws: random.Random
    ) -> None:
        super().__init__(datasets, probs)
        self._draws = draws

    def __iter__(self) -> Iterator[Decoded]:
        while True:
            (dataset,) = self._draws.choices(self.datasets, self.probs)
            try:
                sample = next(dataset)
            except StopIteration:
                return
            yield sample


def ranks() -> tuple[int, int]:
    """This process's rank, and how many there are, as webdataset finds them."""
    rank, world_size, _, _ = pytorch_worker_info()
    return rank, world_size


def _split(items: Iterator[Any]) -> Iterator[Any]:
    mine: Iterator[Any] = wds.split_by_worker(wds.split_by_node(items))
    return mine

"""The order of samples: split over ranks and workers, shuffled and mixed, all by (seed, epoch)."""

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
from diffaug.dataset.mixing import Mixing
from diffaug.dataset.sides import Side
from diffaug.epoch import Epoch
from diffaug.errors import ConfigError

__all__ = ["Mixture", "ranks"]

Decoded = dict[str, Any]


class _Process(NamedTuple):
    """Which process this is, in webdataset's terms, and its current epoch."""

    rank: int
    world_size: int
    worker: int
    num_workers: int
    epoch: int


@dataclass
class Mixture:
    """A stage of a webdataset pipeline that yields one epoch's samples for this process.

    Attributes:
        real: real samples; None if they do not take part.
        augmented: augmented samples; None if they do not take part.
        decoder: decodes the samples of both sides.
        mixing: how the sides are mixed.
        samples: how many samples an epoch has over all ranks; None for each exactly once.
    """

    real: Side | None
    augmented: Side | None
    decoder: Decoder
    mixing: Mixing
    samples: int | None

    def __post_init__(self) -> None:
        self.epoch = Epoch()
        self._began_by: tuple[int, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state with this process's rank, since a spawned worker lacks the process group."""
        return self.__dict__ | {"_began_by": ranks()}

    def __call__(self) -> Iterator[Decoded]:
        """Yield the samples of the current epoch.

        Raises:
            ConfigError: a side has no usable sample.
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
                os.environ.setdefault(name, str(value))  # as launchers do; webdataset reads them
        rank, world_size, worker, num_workers = pytorch_worker_info()
        return _Process(rank, world_size, worker, num_workers, self.epoch.get())

    @staticmethod
    def _share(samples: int, process: _Process) -> int:
        """This process's number of samples; every rank gets the same, whatever the shards."""
        of_rank = max(1, samples // process.world_size)
        return of_rank // process.num_workers + (process.worker < of_rank % process.num_workers)

    def _mixed(self, streams: list[Iterator[Decoded]], process: _Process) -> Iterator[Decoded]:
        if len(streams) == 1:
            return streams[0]
        if self.mixing.ratio is not None:
            turns = [
                stream
                for stream, times in zip(streams, self.mixing.ratio, strict=True)
                for _ in range(times)
            ]
            return iter(wds.RoundRobin(turns))
        draws, share = self._random("mix", process), self.mixing.share
        return iter(_SeededMix(streams, [1 - share, share], draws))

    def _without_end(self, side: Side, process: _Process) -> Iterator[Decoded]:
        """Pass after pass over the side's shards, each split in its own way."""
        for number in count():
            found = False
            for split in (True, False):  # a process whose part is empty reads everything
                for sample in self._pass(side, process, number, split):
                    found = True
                    yield sample
                if found:
                    break
            if not found:
                raise ConfigError(
                    f"no sample of the {side.name} shards can be used: see the skipped ones in the "
                    "log"
                )

    def _pass(
        self, side: Side, process: _Process, number: int | None, split: bool = True
    ) -> Iterator[Decoded]:
        """This process's part of pass `number` over a side; unshuffled if `number` is None.

        The processes split the shards if there are enough of them, and the samples otherwise.
        """
        shards = list(side.shards)
        if number is not None:
            # the same on every rank, or their parts would overlap
            order = random.Random(f"{self.mixing.seed} {process.epoch} {side.name} {number}")
            order.shuffle(shards)
        if not split:
            raws = side.read(shards, iter)
        elif len(shards) >= process.world_size * process.num_workers:
            raws = side.read(_split(iter(shards)), iter)
        else:
            raws = side.read(shards, _split)
        if number is not None and self.mixing.shuffle > 1:
            draws = self._random(f"{side.name} {number}", process)
            raws = wds.shuffle(self.mixing.shuffle, rng=draws)(raws)
        return self.decoder(raws, process.worker)

    def _random(self, what: str, process: _Process) -> random.Random:
        place = f"{process.rank} {process.worker}/{process.num_workers}"
        return random.Random(f"{self.mixing.seed} {process.epoch} {what} {place}")


class _SeededMix(wds.RandomMix):  # type: ignore[misc]  # webdataset has no types
    """webdataset's mix by probability, drawn from its own generator instead of the global one."""

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
    """This process's rank and the number of ranks, as webdataset finds them."""
    rank, world_size, _, _ = pytorch_worker_info()
    return rank, world_size


def _split(items: Iterator[Any]) -> Iterator[Any]:
    mine: Iterator[Any] = wds.split_by_worker(wds.split_by_node(items))
    return mine

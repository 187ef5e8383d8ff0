"""The order of samples: split over ranks and workers, shuffled and mixed, all by (seed, epoch)."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import webdataset as wds
from torch.utils.data import get_worker_info
from webdataset.utils import pytorch_worker_info

from diffaug.dataset.decode import Decoder
from diffaug.dataset.mixing import Mixing
from diffaug.dataset.sides import Raw, Side
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
class _Place:
    """How far this process has come with one side.

    Attributes:
        number: of the pass over the side's shards.
        split: whether the pass is over this process's part of them; otherwise over all.
        taken: undecoded samples taken from the pass.
        found: whether one of the pass could be used.
    """

    number: int = 0
    split: bool = True
    taken: int = 0
    found: bool = False


@dataclass
class _Run:
    """One iteration over an epoch: what it has yielded, and how far it has come with each side."""

    epoch: int
    yielded: int = 0
    places: dict[str, _Place] = field(default_factory=dict)

    def place(self, side: Side) -> _Place:
        return self.places.setdefault(side.name, _Place())


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
        self._run: _Run | None = None
        self._loaded: dict[str, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state with this process's rank, since a spawned worker lacks the process group."""
        return self.__dict__ | {"_began_by": ranks()}

    def forget(self) -> None:
        """From now on `state` is that of an iteration which is still to begin."""
        self._run = None

    def state(self) -> dict[str, Any]:
        """Where the iteration is that began last: what `load` takes, of plain numbers and names."""
        epoch = self.epoch.get()
        if self._loaded is not None and self._loaded["epoch"] == epoch:
            return self._loaded
        run = self._run if self._run is not None and self._run.epoch == epoch else _Run(epoch)
        return {**asdict(run), "of": self._identity()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration continue from a state, unless it is over another epoch.

        Raises:
            ConfigError: it is no state of a mixture.
        """
        if not {"epoch", "yielded", "places", "of"} <= state.keys():
            raise ConfigError("load_state_dict: this is not a state of an AugmentedDataset")
        self.epoch.set_if_none_is(state["epoch"])
        self._loaded = dict(state)

    def _begun(self) -> _Run:
        """A new iteration, from the epoch's first sample or from the loaded state."""
        epoch, state = self.epoch.get(), self._loaded
        if state is None or state["epoch"] != epoch:
            self._loaded = None
            return _Run(epoch)
        self._check(state["of"])
        self._loaded = None
        places = {name: _Place(**place) for name, place in state["places"].items()}
        return _Run(epoch, state["yielded"], places)

    def _identity(self) -> dict[str, Any]:
        """What a state depends on."""
        contents = json.dumps([[side.name, side.contents] for side in self._sides])
        process = self._process()._asdict()
        del process["epoch"]
        mixing = asdict(self.mixing)
        mixing["ratio"] = mixing["ratio"] and list(mixing["ratio"])  # as JSON gives it back
        return {
            "shards": hashlib.sha256(contents.encode()).hexdigest()[:16],
            **mixing,
            "samples": self.samples,
            "soft_labels": self.decoder.classes,
            **process,
        }

    def _check(self, theirs: dict[str, Any]) -> None:
        for name, ours in self._identity().items():
            if theirs.get(name) != ours:
                raise ConfigError(
                    f"load_state_dict: {name} is {theirs.get(name)!r} in the state and {ours!r} "
                    "here, so other samples would follow: use the same, or start the epoch again"
                )

    @property
    def _sides(self) -> list[Side]:
        return [side for side in (self.real, self.augmented) if side is not None]

    def __call__(self) -> Iterator[Decoded]:
        """Yield the samples of the current epoch, or those after the loaded state.

        Raises:
            ConfigError: a side has no usable sample, or the state is of another dataset or of
                another process's part of it.
        """
        run, process = self._begun(), self._process()
        self._run = run
        for sample in islice(self._mixed(process, run), self._share(process, run.yielded)):
            run.yielded += 1
            yield sample

    def _process(self) -> _Process:
        if self._began_by is not None and self._began_by[1] > 1 and get_worker_info() is not None:
            for name, value in zip(("RANK", "WORLD_SIZE"), self._began_by, strict=True):
                os.environ.setdefault(name, str(value))  # as launchers do; webdataset reads them
        rank, world_size, worker, num_workers = pytorch_worker_info()
        return _Process(rank, world_size, worker, num_workers, self.epoch.get())

    def _share(self, process: _Process, before: int) -> int | None:
        """This process's number of samples, less those `before`; None for all there are.

        Every rank gets the same number, whatever the shards.
        """
        if self.samples is None:
            return None
        of_rank = max(1, self.samples // process.world_size)
        own = of_rank // process.num_workers + (process.worker < of_rank % process.num_workers)
        return max(0, own - before)

    def _mixed(self, process: _Process, run: _Run) -> Iterator[Decoded]:
        if self.samples is None:
            once = [self._pass(side, process, run.place(side)) for side in self._sides]
            return iter(wds.RoundRobin(_from(once, run.yielded), longest=True))
        streams = [self._without_end(side, process, run.place(side)) for side in self._sides]
        if len(streams) == 1:
            return streams[0]
        if self.mixing.ratio is not None:
            turns = [
                stream
                for stream, times in zip(streams, self.mixing.ratio, strict=True)
                for _ in range(times)
            ]
            return iter(wds.RoundRobin(_from(turns, run.yielded)))
        draws, share = self._random("mix", process), self.mixing.share
        for _ in range(run.yielded):
            draws.random()
        return iter(_SeededMix(streams, [1 - share, share], draws))

    def _without_end(self, side: Side, process: _Process, place: _Place) -> Iterator[Decoded]:
        """Pass after pass over the side's shards, each split in its own way."""
        while True:
            for sample in self._pass(side, process, place):
                place.found = True
                yield sample
            if not place.found and not place.split:
                raise ConfigError(
                    f"no sample of the {side.name} shards can be used: see the skipped ones in the "
                    "log"
                )
            if place.found:
                place.number, place.found, place.split = place.number + 1, False, True
            else:  # a process whose part is empty reads everything
                place.split = False
            place.taken = 0

    def _pass(self, side: Side, process: _Process, place: _Place) -> Iterator[Decoded]:
        """The rest of a pass over this process's part of a side; unshuffled in evaluation.

        The processes split the shards if there are enough of them, and the samples otherwise. What
        was taken before is read again, and not decoded.
        """
        shards, train = list(side.shards), self.samples is not None
        if train:
            # the same on every rank, or their parts would overlap
            order = random.Random(f"{self.mixing.seed} {process.epoch} {side.name} {place.number}")
            order.shuffle(shards)
        if not place.split:
            raws = side.read(shards, iter)
        elif len(shards) >= process.world_size * process.num_workers:
            raws = side.read(_split(iter(shards)), iter)
        else:
            raws = side.read(shards, _split)
        if train and self.mixing.shuffle > 1:
            draws = self._random(f"{side.name} {place.number}", process)
            raws = wds.shuffle(self.mixing.shuffle, rng=draws)(raws)
        return self.decoder(_counted(islice(raws, place.taken, None), place), process.worker)

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


def _counted(raws: Iterator[Raw], place: _Place) -> Iterator[Raw]:
    for raw in raws:
        place.taken += 1
        yield raw


def _from(turns: list[Iterator[Decoded]], number: int) -> list[Iterator[Decoded]]:
    """Those who take turns, beginning with whose turn it is after so many."""
    first = number % len(turns)
    return turns[first:] + turns[:first]


def ranks() -> tuple[int, int]:
    """This process's rank and the number of ranks, as webdataset finds them."""
    rank, world_size, _, _ = pytorch_worker_info()
    return rank, world_size


def _split(items: Iterator[Any]) -> Iterator[Any]:
    mine: Iterator[Any] = wds.split_by_worker(wds.split_by_node(items))
    return mine

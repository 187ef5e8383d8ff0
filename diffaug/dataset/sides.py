"""The two sides of a mixture, undecoded: samples of real shards, and an OUTPUT's chosen images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from diffaug import storage
from diffaug.dataset.index import Index
from diffaug.errors import DefectError
from diffaug.shards import Sample
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading

__all__ = ["Augmented", "Raw", "Real", "Side", "Split"]

Split = Callable[[Iterator[Any]], Iterator[Any]]
"""Reduces a stream to the part of this process."""


@dataclass(frozen=True, slots=True)
class Raw:
    """An undecoded sample, or its defect.

    Attributes:
        shard: the URL of its tar.
        key: its key in the tar; None for a defect of the tar itself.
        image: the bytes of the image file.
        label: the integer class, else its text, else None.
        strength: of the augmentation; 0 for a real sample.
        augmented: whether the sample is augmented.
        defect: why it cannot be used; None if no reason is known.
    """

    shard: str
    key: str | None
    image: bytes
    label: int | str | None
    strength: float
    augmented: bool
    defect: DefectError | None = None


class Side(Protocol):
    """One side of a mixture.

    Attributes:
        name: its name in errors.
        shards: its tars.
        contents: what tells its samples from others, of plain names and numbers.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def contents(self) -> list[Any]:
        """See above."""

    @property
    def shards(self) -> list[str]:
        """See above."""

    def read(self, shards: Iterable[str], split: Split) -> Iterator[Raw]:
        """The samples of these tars that `split` lets through, in order."""


@dataclass(frozen=True)
class Real:
    """Real samples, read from their shards as a stream."""

    shards: list[str]
    reading: Reading
    name: str = "real"
    _census: Census = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_census", Census(self.reading))

    @property
    def contents(self) -> list[str]:
        """The names of the tars, wherever they lie."""
        return [url.rpartition("/")[2] for url in self.shards]

    def read(self, shards: Iterable[str], split: Split) -> Iterator[Raw]:
        """See `Side`. A defect of a tar is a sample too."""
        return map(self._raw, split((url, sample) for url in shards for sample in self._in(url)))

    def _in(self, url: str) -> Iterator[Sample]:
        with storage.open_read(url) as stream:
            yield from self._census.of(url).samples(stream)

    def _raw(self, found: tuple[str, Sample]) -> Raw:
        url, sample = found
        try:
            image = self.reading.image(sample).data
        except DefectError as defect:
            return Raw(url, sample.key, b"", None, 0.0, False, defect)
        return Raw(url, sample.key, image, self.reading.label(sample).value, 0.0, False)


@dataclass(frozen=True)
class Augmented:
    """The chosen images of an OUTPUT, read from its tars at the manifest's offsets."""

    output: str
    index: Index
    name: str = "augmented"

    @property
    def shards(self) -> list[str]:
        """The tars' paths below OUTPUT."""
        return list(self.index.tars)

    @property
    def contents(self) -> list[tuple[str, int]]:
        """The tars' paths below OUTPUT, and how many images of each are chosen."""
        return list(self.index.tars.items())

    def read(self, shards: Iterable[str], split: Split) -> Iterator[Raw]:
        """See `Side`. Only the bytes of images that `split` lets through are read."""
        chosen = split((tar, image) for tar in shards for image in self.index.images(tar))
        for tar, group in groupby(chosen, key=itemgetter(0)):
            url = storage.join(self.output, tar)
            with storage.open_read(url) as stream:
                for _, (key, offset, size, label, strength) in group:
                    stream.seek(offset)
                    yield Raw(url, key, stream.read(size), label, strength, True)

"""The two sides of a mixture, as undecoded samples: real shards, and an OUTPUT's chosen images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from diffaug import storage
from diffaug.dataset.index import Index
from diffaug.errors import DefectError
from diffaug.shards import Sample, read_samples
from diffaug.shards.reading import Reading

__all__ = ["Augmented", "Raw", "Real", "Side", "Split"]

Split = Callable[[Iterator[Any]], Iterator[Any]]
"""Takes of a stream what falls to this process."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A sample not decoded yet, or the defect that it has.

    Attributes:
        shard: the URL of its tar.
        key: what tells it from the others of the tar; None for a defect of the tar itself.
        image: the bytes of the image file.
        label: the integer class, else its text, else None.
        strength: of the augmentation; 0 for a real sample.
        augmented: whether it is.
        defect: why it cannot be used, if that is known.
    """

    shard: str
    key: str | None
    image: bytes
    label: int | str | None
    strength: float
    augmented: bool
    defect: DefectError | None = None


class Side(Protocol):
    """One of the two.

    Attributes:
        name: what it is called in an error.
        shards: its tars.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def shards(self) -> list[str]:
        """See above."""

    def read(self, shards: Iterable[str], split: Split) -> Iterator[Raw]:
        """The samples of these tars, in order; of all of them, those that `split` lets through."""


@dataclass(frozen=True)
class Real:
    """Samples of shards, read as a stream."""

    shards: list[str]
    reading: Reading
    name: str = "real"

    def read(self, shards: Iterable[str], split: Split) -> Iterator[Raw]:
        """See `Side`. What is wrong with a tar is a sample too."""
        return map(self._raw, split((url, sample) for url in shards for sample in self._in(url)))

    def _in(self, url: str) -> Iterator[Sample]:
        with storage.open_read(url) as stream:
            yield from read_samples(stream, self.reading.wants)

    def _raw(self, found: tuple[str, Sample]) -> Raw:
        url, sample = found
        try:
            image = self.reading.image(sample).data
        except DefectError as defect:
            return Raw(url, sample.key, b"", None, 0.0, False, defect)
        return Raw(url, sample.key, image, self.reading.label(sample).value, 0.0, False)


@dataclass(frozen=True)
class Augmented:
    """The chosen images of an OUTPUT, cut out of its tars by the manifest's offsets."""

    output: str
    index: Index
    name: str = "augmented"

    @property
    def shards(self) -> list[str]:
        """Paths of tars below OUTPUT."""
        return list(self.index.tars)

    def read(self, shards: Iterable[str], split: Split) -> Iterator[Raw]:
        """See `Side`. Only the bytes of images let through are read."""
        places = split((tar, place) for tar in shards for place in self.index.places(tar))
        for tar, group in groupby(places, key=itemgetter(0)):
            url = storage.join(self.output, tar)
            with storage.open_read(url) as stream:
                for _, (key, offset, size, label, strength) in group:
                    stream.seek(offset)
                    yield Raw(url, key, stream.read(size), label, strength, True)

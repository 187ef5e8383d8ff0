"""Counting what shards hold: which keys are samples, and which members none of them has.

A tar may hold files beside its samples: a README.txt, a Thumbs.db, a list of classes. No image of
those was ever planned, so they have no row. They are counted, and named once a shard.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from typing import IO

from diffaug import storage
from diffaug.errors import DefectError
from diffaug.shards.reading import Reading, listed
from diffaug.shards.stream import MOST_NAMES, Sample, read_samples

__all__ = ["Census", "ShardCensus"]

_log = logging.getLogger(__name__)


class Census:
    """Counts shards one after another, and remembers what the log has already been told.

    Args:
        reading: which members are read.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._logged: set[str] = set()

    def of(self, url: str) -> ShardCensus:
        """A count of the shard at `url`."""
        return ShardCensus(url, self._reading, self._logged)


class ShardCensus:
    """Counts one shard, and logs at its end what is odd about it.

    The keys passed over are named once a shard. A member that a field asks for and that no sample
    of a shard has is reported once, for the first such shard: its name is probably a mistake. A
    mask is reported for each, since without it images change that should not.

    Args:
        url: the shard's.
        reading: which members are read.
        logged: what the log has been told; added to.

    Attributes:
        passed_over: how many keys are no sample.
    """

    def __init__(self, url: str, reading: Reading, logged: set[str]) -> None:
        self.passed_over = 0
        self._url = url
        self._reading = reading
        self._logged = logged
        self._passed: dict[str, None] = {}
        self._names: dict[str, None] = {}

    def samples(
        self, stream: IO[bytes], wanted: Callable[[str], bool] | None = None
    ) -> Iterator[Sample]:
        """The samples that `read_samples` yields, without the keys passed over.

        Args:
            stream: the shard's bytes, read once from start to end.
            wanted: which extensions to read; by default all that the reading names.
        """
        for sample in read_samples(stream, wanted or self._reading.reads):
            if sample.key is None or self.takes(sample.key, sample.names, sample.defect):
                yield sample
        self.end()

    def takes(self, key: str, names: Collection[str], defect: DefectError | None = None) -> bool:
        """Whether a key is a sample; if not, it is counted.

        Args:
            key: the key.
            names: the extensions of its members.
            defect: what is wrong with it: a cut may have taken its image, and the key of a sample
                that comes twice is an error whatever the second one holds.
        """
        if len(self._names) < MOST_NAMES:
            self._names.update(dict.fromkeys(names))
        code = None if defect is None else defect.code
        again = code == "duplicate_key" and key not in self._passed
        if again or code == "truncated_tar" or self._reading.is_sample(names):
            return True
        self._passed[key] = None
        self.passed_over += 1
        return False

    def end(self) -> None:
        """Log what was found, now that the shard is read to its end."""
        where = storage.public_url(self._url)
        if self._passed and self._url not in self._logged:
            self._logged.add(self._url)
            _log.warning(
                "%s: %d passed over, without an image, class, mask or carried member: %s",
                where,
                self.passed_over,
                listed(self._passed),
            )
        if not 0 < len(self._names) < MOST_NAMES:
            return
        for field, what, meaning in self._reading.missing(self._names):
            told = f"{self._url} {what}" if field == "mask_key" else what
            if told not in self._logged:
                self._logged.add(told)
                _log.warning(
                    "no sample of %s has %s: %s (%s); its members are %s",
                    where,
                    what,
                    meaning,
                    field,
                    listed(self._names),
                )

"""Which images of an OUTPUT are wanted, and where they lie: by the manifest, a few columns of it.

Only how many each tar has is kept. A tar's rows are read when its turn comes, by whoever reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffaug import storage
from diffaug.dataset.query import Query
from diffaug.errors import ConfigError
from diffaug.output.layout import Output, broken_part, copy_key
from diffaug.threads import several

__all__ = ["Index", "Place"]

_ROWS_AT_ONCE = 1 << 16
_KEPT = 1 << 17  # rows, of some 300 bytes


class Place(NamedTuple):
    """An augmented image: what the manifest says of it.

    Attributes:
        key: `<source_key>-a<copy>`, whatever the layout of the tar.
        offset: where in the tar its bytes begin.
        size: how many they are.
        label: the integer class, else its text, else None.
        strength: in (0, 1].
    """

    key: str
    offset: int
    size: int
    label: int | str | None
    strength: float


class Index:
    """The images of an OUTPUT that a query chooses.

    Attributes:
        tars: how many images are chosen of each tar that has any, by its path below OUTPUT.
        every: all tars of the OUTPUT, also those of which no image is chosen, sorted.
        sources: of how many source samples the manifest tells.

    Raises:
        ConfigError: nothing is committed yet, or the query names a column that is not there.
        UncommittedError: a part is broken.
    """

    def __init__(self, output: str, query: Query) -> None:
        self._output = output
        self._query = query
        self._kept: dict[str, list[Place]] = {}
        self.sources = 0
        chosen: Counter[str] = Counter()
        every: set[str] = set()
        columns = [*query.columns, "output_shard", "copy"]
        for rows in self._manifest(columns):
            self.sources += int((rows["copy"] == 0).sum())
            every.update(rows["output_shard"].dropna().unique())
            found = query.select(rows)["output_shard"].dropna()
            chosen.update({str(tar): int(count) for tar, count in found.value_counts().items()})
        self.tars = dict(sorted(chosen.items()))
        self.every = sorted(every)

    def __getstate__(self) -> dict[str, Any]:
        """Without the rows that were kept."""
        return self.__dict__ | {"_kept": {}}

    def places(self, tar: str) -> list[Place]:
        """The chosen images of one tar, in the order in which they lie in it.

        Those of the first tars are kept for the next pass, as many as memory has room for.
        """
        if tar in self._kept:
            return self._kept[tar]
        places = self._read_places(tar)
        if sum(map(len, self._kept.values())) + len(places) <= _KEPT:
            self._kept[tar] = places
        return places

    def _read_places(self, tar: str) -> list[Place]:
        stem = tar.rpartition("/")[2].rpartition("-")[0]
        columns = [*self._query.columns, "output_shard", "output_offset", "output_bytes"]
        columns += ["source_key", "copy", "label", "strength"]
        with _part(Output(self._output).part(stem)) as part:
            rows = _read(part, columns)
            rows = self._query.select(rows[rows["output_shard"] == tar])
            rows = rows.sort_values("output_offset")
            labels: list[int | str | None] = _plain(rows["label"])
            if None in labels:  # texts can be long: they are read where they are needed
                texts = _plain(_read(part, ["label_text"])["label_text"].loc[rows.index])
                labels = [
                    text if label is None else label
                    for label, text in zip(labels, texts, strict=True)
                ]
        keys = (
            copy_key(key, copy) for key, copy in zip(rows["source_key"], rows["copy"], strict=True)
        )
        where = (rows[name].tolist() for name in ("output_offset", "output_bytes"))
        return list(map(Place, keys, *where, labels, rows["strength"].tolist()))

    def _manifest(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        """The whole of it, in bounded pieces."""
        output = Output(self._output)
        parts = list(map(output.part, output.stems()))
        if not parts:
            raise ConfigError(f"{output.public} has no images yet: no shard is committed")
        with _part(parts[0]) as part:
            self._query.check(part.schema_arrow.names)
        lineage = [storage.join(output.lineage, name) for name in output.lineage_files()]
        if lineage and _shards_in(lineage) == len(parts):
            yield from chain.from_iterable(_pieces(columns, url) for url in lineage)
            return
        whole = several(lambda url: list(_pieces(columns, url)), parts, output.requests)
        yield from chain.from_iterable(whole)


def _shards_in(lineage: list[str]) -> int:
    """Of how many source shards the large files tell: they may be behind the parts."""
    pieces = chain.from_iterable(map(partial(_pieces, ["source_shard"]), lineage))
    return len(set().union(*(piece["source_shard"].unique() for piece in pieces)))


def _pieces(columns: list[str], url: str) -> Iterator[pd.DataFrame]:
    with _part(url) as part:
        names = list(dict.fromkeys(columns))
        # no thread of Arrow's own: data loaders fork
        for batch in part.iter_batches(_ROWS_AT_ONCE, columns=names, use_threads=False):
            yield batch.to_pandas()


@contextmanager
def _part(url: str) -> Iterator[Any]:
    with storage.open_read(url) as stream:
        try:
            with pq.ParquetFile(stream, page_checksum_verification=True) as part:
                yield part
        except pa.ArrowException as error:
            raise broken_part(url, error) from error


def _read(part: Any, columns: list[str]) -> pd.DataFrame:
    frame: pd.DataFrame = part.read(
        columns=list(dict.fromkeys(columns)), use_threads=False
    ).to_pandas(use_threads=False)
    return frame


def _plain(values: pd.Series[Any]) -> list[Any]:
    """Python's own values, None where there is none."""
    return [
        None if missing else value
        for value, missing in zip(values.tolist(), values.isna(), strict=True)
    ]

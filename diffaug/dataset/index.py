"""The chosen images of an OUTPUT and where they lie, from a few columns of the manifest.

Memory holds only their number in each tar. A tar's rows are read when its turn comes, by the
process that reads the tar.
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
from diffaug.models.classes import Named
from diffaug.output.layout import Output, broken_part, copy_key
from diffaug.shards.reading import Label
from diffaug.threads import several

__all__ = ["Chosen", "Index"]

_ROWS_AT_ONCE = 1 << 16
_KEPT = 1 << 17  # rows, of about 300 bytes each


class Chosen(NamedTuple):
    """A chosen image, as the manifest records it.

    Attributes:
        key: `<source_key>-a<copy>`, whatever the layout of the tar.
        offset: where its data begins in the tar, in bytes.
        size: in bytes.
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
        tars: the number of images chosen from each tar that has any, by its path below OUTPUT.
        every: all tars of the OUTPUT, sorted, including those without a chosen image.
        sources: the number of source samples in the manifest.

    Raises:
        ConfigError: nothing is committed yet, or the query names a column that does not exist.
        UncommittedError: a part is broken.
    """

    def __init__(self, output: str, query: Query) -> None:
        self._output = output
        self._query = query
        self._kept: dict[str, list[Chosen]] = {}
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
        """The state without the rows kept."""
        return self.__dict__ | {"_kept": {}}

    def images(self, tar: str) -> list[Chosen]:
        """The chosen images of one tar, in the order in which they lie in it.

        The first tars' are kept for the next pass, up to a fixed number of rows.
        """
        if tar in self._kept:
            return self._kept[tar]
        images = self._read_images(tar)
        if sum(map(len, self._kept.values())) + len(images) <= _KEPT:
            self._kept[tar] = images
        return images

    def names(self) -> dict[int, str]:
        """The names of the classes, as far as the texts of the first part's samples give them."""
        named, output = Named(), Output(self._output)
        first = _pieces(["label", "label_text", "copy"], output.part(output.stems()[0]))
        for rows in first:
            rows = rows[rows["copy"] == 0]
            pairs = zip(_plain(rows["label"]), _plain(rows["label_text"]), strict=True)
            for number, text in pairs:
                named.add(Label(None if number is None else int(number), text))
        return named.names

    def _read_images(self, tar: str) -> list[Chosen]:
        stem = tar.rpartition("/")[2].rpartition("-")[0]
        columns = [*self._query.columns, "output_shard", "output_offset", "output_bytes"]
        columns += ["source_key", "copy", "label", "strength"]
        with _part(Output(self._output).part(stem)) as part:
            given = "to_label" if "to_label" in part.schema.names else "label"
            rows = _read(part, sorted({*columns, given}))
            rows = self._query.select(rows[rows["output_shard"] == tar])
            rows = rows.sort_values("output_offset")
            labels: list[int | str | None] = _plain(rows[given])
            if None in labels:  # texts can be long, so they are read only where needed
                texts = _plain(_read(part, ["label_text"])["label_text"].loc[rows.index])
                labels = [
                    text if label is None else label
                    for label, text in zip(labels, texts, strict=True)
                ]
        keys = (
            copy_key(key, copy) for key, copy in zip(rows["source_key"], rows["copy"], strict=True)
        )
        where = (rows[name].tolist() for name in ("output_offset", "output_bytes"))
        return list(map(Chosen, keys, *where, labels, rows["strength"].tolist()))

    def _manifest(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        """These columns of the whole manifest, in pieces of bounded size."""
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
    """The number of source shards in the lineage files, which may lag behind the parts."""
    pieces = chain.from_iterable(map(partial(_pieces, ["source_shard"]), lineage))
    return len(set().union(*(piece["source_shard"].unique() for piece in pieces)))


def _pieces(columns: list[str], url: str) -> Iterator[pd.DataFrame]:
    with _part(url) as part:
        names = list(dict.fromkeys(columns))
        # without Arrow's own threads, since data loaders fork
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
    """The values as Python objects, None for missing ones."""
    return [
        None if missing else value
        for value, missing in zip(values.tolist(), values.isna(), strict=True)
    ]

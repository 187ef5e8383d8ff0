"""The tar that answers a shard: its samples, and a row for each copy that has no picture."""

from __future__ import annotations

import io
import json

from diffaug.job.copy import Copy
from diffaug.job.copytar import CopyTar, File
from diffaug.job.rows import finite
from diffaug.manifest.part import Row
from diffaug.output.layout import LINEAGE_MEMBER
from diffaug.recipe import Recipe
from diffaug.shards import ShardWriter

__all__ = ["Outgoing"]

_UNNAMED = ("unsafe_name", "duplicate_key")
"""Defects of a sample that leave it no name of its own."""


class Outgoing:
    """A tar being written: the members that a job writes, byte for byte.

    A copy that failed, or that filters turned away, is a sample of one member, a JSON of its row
    with `status`, `reason_code` and `reason`: `KEY-a0.diffaug.json`, or `KEY.aug0.diffaug.json` in
    the layout `paired`. If its sample has no usable key, or it is the shard itself that is broken,
    the name begins with `failed-` and the sample's number.

    Args:
        recipe: what made the copies.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._buffer = io.BytesIO()
        self._tar = ShardWriter(self._buffer)
        self._copies = CopyTar(self._tar, recipe)

    def add(self, copy: Copy, file: File | None, verdict: Row, number: int) -> None:
        """Add a copy.

        Args:
            copy: it has its row, and a source if it has a file.
            file: its picture; None if it failed.
            verdict: the columns by which filters turned it away; empty if they did not.
            number: of its sample in the shard, from 0.
        """
        sample = None if copy.source is None else copy.source.sample
        if file is None or sample is None:
            self._add_row(copy.row, number)
        elif verdict:
            self._copies.add_source(sample)
            self._add_row(copy.row | verdict, number)
        else:
            self._copies.add(copy.row, file, sample)

    def end(self) -> None:
        """Write the end-of-archive mark."""
        self._tar.close()

    def take(self) -> bytes:
        """What was written since the last call."""
        data = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return data

    def _add_row(self, row: Row, number: int) -> None:
        key, copy = row["source_key"], row["copy"]
        if key is None or row["reason_code"] in _UNNAMED:
            key = f"failed-{number:06d}"
        stem = key if copy is None else self._copies.stem(key, copy)
        said = {name: value for name, value in finite(row).items() if value not in (None, "")}
        data = json.dumps(said, sort_keys=True, ensure_ascii=False, allow_nan=False)
        self._tar.add(f"{stem}.{LINEAGE_MEMBER}", data.encode())

"""Rows of an output for a page: a few columns of all of them, and all columns of a few."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import pandas as pd
import pyarrow.dataset as ds

from diffaug.manifest.part import Row
from diffaug.output.layout import Output
from diffaug.output.select import evenly
from diffaug.storage.find import filesystem

__all__ = ["Rows"]

_COLUMNS = [
    *("source_shard", "source_key", "copy", "label", "label_text"),
    *("strength", "output_shard", "status", "reason_code", "reason"),
]


class Rows:
    """The manifest of an output; rows are identified by their place in it.

    Args:
        output: OUTPUT of a job.

    Attributes:
        scores: columns of scores.
    """

    def __init__(self, output: str) -> None:
        fs, path = filesystem(Output(output).manifest)
        fs.invalidate_cache()
        self._parts = ds.dataset(path, filesystem=fs, format="parquet")
        self.scores = [name for name in self._parts.schema.names if name.startswith("score_")]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The columns that rows are counted by, and `class`: the class as text or number."""
        frame: pd.DataFrame = self._parts.to_table(columns=[*_COLUMNS, *self.scores]).to_pandas(
            integer_object_nulls=True, strings_to_categorical=True
        )
        text, number = frame["label_text"].astype(object), frame["label"]
        return frame.assign(**{"class": text.where(text.notna(), number.map(_numbered))})

    def whole(self, places: Iterable[int]) -> dict[int, Row]:
        """All columns of the rows at these places, by place."""
        order = sorted(set(places))
        return dict(zip(order, self._parts.take(order).to_pylist(), strict=True))

    def sources(self, count: int, copies: int | None = None) -> list[list[int]]:
        """Places of the stored copies of some sources, spread evenly over the shards.

        Args:
            count: maximum number of sources.
            copies: maximum number of copies of each, lowest numbers first; all if None.
        """
        stored = self.frame[self.frame["output_shard"].notna()]
        source = ["source_shard", "source_key"]
        number = stored.groupby(source, observed=True, sort=False).ngroup()
        groups = number.unique()
        taken = stored[number.isin(groups[evenly(len(groups), count)])]
        return [
            group.sort_values("copy").index[:copies].tolist() for _, group in taken.groupby(number)
        ]

    def count_sources(self) -> int:
        """Number of source images with at least one stored copy."""
        stored = self.frame[self.frame["output_shard"].notna()]
        return len(stored.drop_duplicates(["source_shard", "source_key"]))

    def extremes(self, score: str, count: int) -> tuple[list[int], list[int]]:
        """Places of the stored images with the lowest and the highest scores, without overlap."""
        known = self.frame[score][self.frame["output_shard"].notna()].dropna().sort_values()
        count = min(count, len(known) // 2)
        return known.index[:count].tolist(), known.index[len(known) - count :][::-1].tolist()

    def of_status(self, status: str, count: int) -> list[int]:
        """Places of rows with a status, spread evenly."""
        places = self.frame.index[self.frame["status"] == status].tolist()
        return [int(places[place]) for place in evenly(len(places), count)]

    def reasons(self, status: str) -> list[tuple[str, int, str]]:
        """Why rows have a status: reason code, number of rows, and reason of the first."""
        rows = self.frame[self.frame["status"] == status]
        found = [
            (str(code), len(group), str(group["reason"].iloc[0]))
            for code, group in rows.groupby("reason_code", observed=True)
        ]
        return sorted(found, key=lambda each: -each[1])

    def classes(self) -> pd.DataFrame:
        """Number of source images and of ok images by class, largest first."""
        named = self.frame[self.frame["class"].notna()]
        sources = named.drop_duplicates(["source_shard", "source_key"])["class"].value_counts()
        kept = named["class"][named["status"] == "ok"].value_counts()
        table = pd.DataFrame({"sources": sources, "ok": kept}).fillna(0).astype(int)
        return table.sort_values("sources", ascending=False, kind="stable")


def _numbered(label: object) -> str | None:
    return None if label is None or pd.isna(label) else str(label)  # type: ignore[call-overload]

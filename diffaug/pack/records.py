"""Reading a CSV or Parquet table row by row, with a few rows in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from diffaug import storage
from diffaug.errors import ConfigError

__all__ = ["CsvRecords", "Kind", "ParquetRecords", "Records"]

Kind = Literal["integer", "text", "bytes", "unknown"]
"""What a column holds. Floats count as integers, since an integer label may have become one."""

_BUFFER = 1 << 20
_AT_ONCE = 64


class Records(Protocol):
    """A table that is read from start to end.

    Attributes:
        columns: the names of the columns, in order.
        typed: whether the table has types, so that "7" in a text column is text.
    """

    columns: list[str]
    typed: bool

    def count(self) -> int:
        """The number of rows."""

    def kind(self, column: str) -> Kind:
        """What a column holds."""

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """The names that the table itself gives a column's integers; None if it gives none."""

    def read(self, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """The values of these columns, row by row.

        Raises:
            ConfigError: the table is broken.
        """


class CsvRecords:
    """A CSV with a header, in UTF-8. Every value is text."""

    typed = False

    def __init__(self, url: str) -> None:
        self._url = url
        with _explained(url, "CSV"), self._open() as lines:
            self.columns: list[str] = next(lines, [])

    def count(self) -> int:
        """The number of rows, which takes reading all of them."""
        return sum(1 for _ in self.read([]))

    def kind(self, column: str) -> Kind:
        """Always text."""
        return "text"

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """Always None: a CSV names no classes."""
        return None

    def read(self, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """The values of these columns, row by row; empty lines are skipped."""
        places = [self.columns.index(column) for column in columns]
        with _explained(self._url, "CSV"), self._open() as lines:
            next(lines, None)
            for row in filter(None, lines):
                if len(row) != len(self.columns):
                    raise csv.Error(
                        f"line {lines.line_num} has {len(row)} fields, but the header has "
                        f"{len(self.columns)}"
                    )
                yield tuple(row[place] for place in places)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        with fsspec.open(self._url, "rt", encoding="utf-8-sig", newline="") as stream:
            yield csv.reader(stream, strict=True)


class ParquetRecords:
    """A Parquet file. Memory holds the pages being read, never whole row groups."""

    typed = True

    def __init__(self, url: str) -> None:
        self._url = url
        with self._open() as file:
            self._schema = file.schema_arrow
            self._count: int = file.metadata.num_rows
        self.columns: list[str] = self._schema.names

    def count(self) -> int:
        """The number of rows, from the file's footer."""
        return self._count

    def kind(self, column: str) -> Kind:
        """What a column holds, from the schema."""
        return _kind(self._schema.field(column).type)

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """The class names that Hugging Face datasets keeps in the schema."""
        try:
            kept = json.loads(self._schema.metadata[b"huggingface"])
            return tuple(map(str, kept["info"]["features"][column]["names"]))
        except (KeyError, TypeError, ValueError):
            return None

    def read(self, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """The values of these columns, row by row."""
        with self._open() as file:
            for batch in file.iter_batches(_AT_ONCE, columns=columns, use_threads=False):
                yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        with (
            _explained(self._url, "Parquet"),
            fsspec.open(self._url, "rb") as stream,
            pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False) as file,
        ):
            yield file


def _kind(type: pa.DataType) -> Kind:
    types = pa.types
    if types.is_dictionary(type):
        return _kind(type.value_type)
    if types.is_integer(type) or types.is_floating(type) or types.is_boolean(type):
        return "integer"
    if types.is_string(type) or types.is_large_string(type) or types.is_string_view(type):
        return "text"
    if types.is_binary(type) or types.is_large_binary(type) or types.is_binary_view(type):
        return "bytes"
    if types.is_struct(type) and {field.name for field in type} >= {"bytes", "path"}:
        return "bytes"
    return "unknown"


@contextmanager
def _explained(url: str, format: str) -> Iterator[None]:
    try:
        yield
    except (csv.Error, UnicodeDecodeError, pa.ArrowException, OSError) as error:
        raise ConfigError(
            f"{storage.public_url(url)} cannot be read as {format}: {error}"
        ) from error

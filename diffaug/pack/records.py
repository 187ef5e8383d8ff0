"""Reading a CSV or Parquet table row by row, with a few rows in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, repeat
from typing import Any, Literal, Protocol
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.shards import integer

__all__ = ["CsvRecords", "Kind", "ParquetRecords", "Records"]

Kind = Literal["integer", "text", "bytes", "unknown"]
"""What a column holds. Floats count as integers, since an integer label may have become one."""

_BUFFER = 1 << 20
_AT_ONCE = 64

_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
"""What stands for null in the name of a folder."""


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
    """Parquet files that are one table, in order. Memory holds schemas and the pages being read.

    Folders named `column=value` add columns, as Spark, Hive and pandas write them.
    """

    typed = True

    def __init__(self, urls: Sequence[str], depth: int) -> None:
        """Read the schema of each file.

        Args:
            urls: of the files.
            depth: how many parts of each URL, between slashes, lead to the table; the folders after
                those may be columns.
        """
        self._parts = [_ParquetPart(url, depth) for url in urls]
        self.columns: list[str] = self._parts[0].columns

    def count(self) -> int:
        """The number of rows, from the files' footers."""
        return sum(part.count for part in self._parts)

    def kind(self, column: str) -> Kind:
        """What a column holds, from the schemas.

        Raises:
            ConfigError: the files differ in it.
        """
        first, *others = self._parts
        for part in others:
            if part.kind(column) != first.kind(column):
                raise ConfigError(
                    f"{part.where} holds {part.kind(column) or 'nothing'} in the column {column}, "
                    f"and {first.where} {first.kind(column)}: pack them one by one, or make them "
                    "one table"
                )
        if column in first.folders and all(part.has_integer(column) for part in self._parts):
            return "integer"
        return first.kind(column) or "unknown"

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """The class names that Hugging Face datasets keeps in the schema."""
        return self._parts[0].class_names(column)

    def read(self, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """The values of these columns, row by row."""
        folders = self._parts[0].folders
        integers = {name for name in columns if name in folders and self.kind(name) == "integer"}
        for part in self._parts:
            yield from part.read(columns, integers)


class _ParquetPart:
    """One file of a Parquet table.

    Attributes:
        where: its URL, for people.
        columns: the names of its columns, those that its folders add included.
        folders: the values of the latter, None where it is null.
        count: the number of its rows.
    """

    def __init__(self, url: str, depth: int) -> None:
        self._url = url
        self.where = storage.public_url(url)
        with self._open() as file:
            self._schema = file.schema_arrow
            self.count: int = file.metadata.num_rows
        pairs = (part.partition("=") for part in url.split("/")[depth:-1] if "=" in part)
        self.folders = {
            name: None if value == _NULL_FOLDER else unquote(value)
            for name, _, value in pairs
            if name not in self._schema.names
        }
        self.columns = [*self._schema.names, *self.folders]

    def kind(self, column: str) -> Kind | None:
        """What a column holds; None if there is no such column."""
        if column in self.folders:
            return "text"
        return _kind(self._schema.field(column).type) if column in self._schema.names else None

    def has_integer(self, column: str) -> bool:
        """Whether the value that a folder gives a column is an integer, or null."""
        value = self.folders.get(column)
        return value is None or integer(value) is not None

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """The class names in the schema."""
        try:
            kept = json.loads(self._schema.metadata[b"huggingface"])
            return tuple(map(str, kept["info"]["features"][column]["names"]))
        except (KeyError, TypeError, ValueError):
            return None

    def read(self, columns: list[str], integers: Collection[str]) -> Iterator[tuple[Any, ...]]:
        """The values of these columns, row by row; those of `integers` are given by folders."""
        stored = [column for column in columns if column not in self.folders]
        given: dict[str, Any] = dict(self.folders)
        given |= {name: integer(given[name] or "") for name in integers}
        with self._open() as file:
            for batch in file.iter_batches(_AT_ONCE, columns=stored, use_threads=False):
                values = (
                    batch.column(name).to_pylist() if name in stored else repeat(given[name])
                    for name in columns
                )
                yield from islice(zip(*values, strict=False), batch.num_rows)

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

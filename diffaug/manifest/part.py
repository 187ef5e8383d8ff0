"""The manifest, versions 1 and 2: one row for every planned image, whatever its outcome.

A part is one Parquet file for one source shard. Its key-value metadata holds JSON:

- `diffaug.report`: the shard report (counts, times, host)
- `diffaug.recipe`: the whole recipe
- `diffaug.environment`: versions, device and batch size
- `diffaug.judges`: the digest of each judge, if the recipe names any
- `diffaug.digest`: of all rows and all other metadata

Rows never record when they were made.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from diffaug.manifest.columns import ADDED, COLUMNS, LONGEST_TEXT, columns_of

__all__ = [
    "COLUMNS",
    "LONGEST_TEXT",
    "SCHEMA_VERSION",
    "Part",
    "Row",
    "check_part",
    "columns_of",
    "iter_rows",
    "read_metadata",
    "schema_of",
    "version_of",
]

SCHEMA_VERSION = 2
"""The newest version, that of jobs of clips and texts; jobs of images go on writing version 1."""

Row = dict[str, Any]

_ROWS_AT_ONCE = 512

_PANDAS_INTEGERS = {"int32": "Int32", "int64": "Int64"}


def version_of(adding: Iterable[str] = ()) -> int:
    """The version of a job's manifest; `adding` is what of its recipe adds columns."""
    return SCHEMA_VERSION if {"medium", "text"} & set(adding) else 1


def schema_of(adding: Iterable[str] = ()) -> pa.Schema:
    """The Arrow schema of a job's rows; `adding` is what of its recipe adds columns."""
    return _schema(frozenset(adding))


@cache
def _schema(adding: frozenset[str]) -> pa.Schema:
    named = columns_of(adding)
    fields = [pa.field(name, pa.type_for_alias(kind)) for name, (kind, _) in named.items()]
    # pandas reads integers with nulls as floats unless the file says Int64, as this does
    columns = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": "unicode" if kind == "string" else kind.replace("double", "float64"),
            "numpy_type": _PANDAS_INTEGERS.get(kind, {"double": "float64"}.get(kind, "str")),
            "metadata": None,
        }
        for name, (kind, _) in named.items()
    ]
    pandas = {"index_columns": [], "column_indexes": [], "columns": columns}
    metadata = {"pandas": json.dumps(pandas), "diffaug.schema": str(version_of(adding))}
    return pa.schema(fields, metadata=metadata)


class Part:
    """The rows of one manifest part, kept in a local Arrow file until the part is written.

    The tar's name holds its digest, so no row is complete before the tar is. A shard may have any
    number of rows, so at most one batch of them is in memory.

    Args:
        spool: the file to keep the rows in; `close` removes it.
        adding: what of the job's recipe adds columns.
    """

    def __init__(self, spool: Path, adding: Iterable[str] = ()) -> None:
        self._spool = spool
        self._schema = schema_of(adding)
        self._stream = pa.OSFile(str(spool), "wb")
        self._writer = pa.ipc.new_file(self._stream, self._schema)
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Append a row; columns that it leaves out are null.

        Raises:
            KeyError: it has a column that the schema lacks.
        """
        unknown = row.keys() - set(self._schema.names)
        if unknown:
            raise KeyError(f"not in the manifest's schema: {', '.join(sorted(unknown))}")
        self._rows.append(row)
        if len(self._rows) == _ROWS_AT_ONCE:
            self._flush()

    def write(
        self,
        path: Path,
        output_shard: str | None,
        metadata: Mapping[str, Any],
        rejects_shard: str | None = None,
    ) -> None:
        """Write the part to a local file; no row can be added afterwards.

        Args:
            path: the file to write.
            output_shard: the tar that holds the images of these rows.
            metadata: JSON-able values, stored under `diffaug.<name>`.
            rejects_shard: the tar that holds the images of filtered rows instead.
        """
        self._flush()
        self._writer.close()
        self._stream.close()
        packed = {name: json.dumps(value, sort_keys=True) for name, value in metadata.items()}
        tars = output_shard, rejects_shard
        packed["digest"] = json.dumps(_digest(self._batches(*tars), packed))
        with path.open("wb") as sink:
            _serialise(self._batches(*tars), packed, self._schema, sink)

    def close(self) -> None:
        """Remove the spool, whether the part was written or not."""
        self._stream.close()
        self._spool.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._rows:
            columns = {name: [row.get(name) for row in self._rows] for name in self._schema.names}
            self._writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=self._schema))
            self._rows = []

    def _batches(
        self, output_shard: str | None, rejects_shard: str | None
    ) -> Iterator[pa.RecordBatch]:
        place = self._schema.get_field_index("output_shard")
        with pa.OSFile(str(self._spool), "rb") as stream:
            spooled = pa.ipc.open_file(stream)
            for number in range(spooled.num_record_batches):
                batch = spooled.get_batch(number)
                rows = zip(
                    batch["output_key"].to_pylist(), batch["status"].to_pylist(), strict=True
                )
                shards = [
                    None if key is None else rejects_shard if status == "filtered" else output_shard
                    for key, status in rows
                ]
                named = pa.array(shards, pa.string())
                yield batch.set_column(place, self._schema.field(place), named)


def _serialise(
    batches: Iterable[pa.RecordBatch],
    packed: Mapping[str, str],
    schema: pa.Schema,
    sink: IO[bytes],
) -> None:
    """Write a part. For a given pyarrow version, its bytes depend only on rows and metadata."""
    named = {f"diffaug.{name}".encode(): packed[name] for name in sorted(packed)}
    schema = schema.with_metadata({**schema.metadata, **named})
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _digest(batches: Iterable[pa.RecordBatch], packed: Mapping[str, str]) -> str:
    """sha256, in hex, of every row and every metadata value except the digest itself."""
    total = hashlib.sha256()
    for name in sorted(packed.keys() - {"digest", "schema"}):
        total.update(f"{name} {packed[name]}\n".encode())
    for batch in batches:
        for row in batch.to_pylist():
            total.update(json.dumps(row).encode() + b"\n")
    return total.hexdigest()


def iter_rows(source: Any, columns: Iterable[str] | None = None) -> Iterator[Row]:
    """The rows of a part (an open file) one by one, with all columns or some, in constant memory.

    Raises:
        OSError: a page's checksum is wrong.
        pyarrow.ArrowException: the file is no longer valid Parquet.
    """
    names = None if columns is None else list(columns)
    with pq.ParquetFile(source, page_checksum_verification=True) as part:
        for batch in part.iter_batches(batch_size=_ROWS_AT_ONCE, columns=names):
            yield from batch.to_pylist()


def check_part(data: bytes) -> tuple[dict[str, Any], list[Row]]:
    """The metadata and rows of a part, after checking that it is unchanged.

    The digest covers rows and metadata. If this version of pyarrow wrote the part, it is also
    serialised again and compared, which covers every other byte of the file.

    Raises:
        ValueError: the part differs from what was written.
        pyarrow.ArrowException: the file is no longer valid Parquet.
    """
    part = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    batches = [
        batch
        for group in range(part.num_row_groups)
        for batch in part.read_row_group(group).combine_chunks().to_batches()
    ]
    packed = _packed(part.schema_arrow.metadata)
    metadata = {name: json.loads(value) for name, value in packed.items()}
    if metadata.get("digest") != _digest(batches, packed):
        raise ValueError("its rows or metadata do not match its digest")
    written_by = metadata["environment"]["versions"]["pyarrow"]
    if written_by == pa.__version__:
        again = io.BytesIO()
        _serialise(batches, packed, _schema_with(part.schema_arrow.names), again)
        if again.getvalue() != data:
            raise ValueError("its bytes differ from those that were written")
    return metadata, [row for batch in batches for row in batch.to_pylist()]


def _schema_with(names: Iterable[str]) -> pa.Schema:
    """The schema of a part that has these columns."""
    there = set(names)
    return schema_of(adds for adds, own in ADDED.items() if own.keys() <= there)


def read_metadata(source: Any) -> dict[str, Any]:
    """The `diffaug.*` metadata of a part (path or file), parsed from JSON, without its rows."""
    packed = _packed(pq.read_metadata(source).metadata)
    return {name: json.loads(value) for name, value in packed.items()}


def _packed(raw: Mapping[bytes, bytes] | None) -> dict[str, str]:
    return {
        key.decode().removeprefix("diffaug."): value.decode()
        for key, value in (raw or {}).items()
        if key.startswith(b"diffaug.")
    }

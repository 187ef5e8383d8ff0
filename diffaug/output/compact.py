"""`OUTPUT/lineage/`: a copy of a finished job's manifest in a few large files.

It serves readers far from the store, for whom ten thousand parts cost ten thousand requests. The
parts remain authoritative. For a given pyarrow version, the files are a function of them, byte for
byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.manifest.part import schema_of
from diffaug.output.layout import Output, broken_part
from diffaug.output.run import SourceShard, the_run
from diffaug.output.survey import survey
from diffaug.threads import several

__all__ = ["compact", "stale"]

_ROWS_A_GROUP = 1 << 15
_ROWS_A_FILE = 1 << 20


def compact(output: str) -> Iterator[int]:
    """Merge the parts, yielding the number of rows of each; the files are complete at the end.

    Args:
        output: OUTPUT of a finished job.

    Raises:
        ConfigError: it is not the output of a job, or some of its shards are not committed yet.
        UncommittedError: a part is broken.
    """
    run = the_run(output)
    missing = len(survey(run.sources, output).missing)
    if missing:
        raise ConfigError(
            f"{missing} of {len(run.sources)} shards of {storage.public_url(output)} are not "
            "committed: finish the job, then compact it"
        )
    with storage.scratch(output) as scratch:
        schema = schema_of(run.recipe.adds_columns)
        files = _Files(scratch, schema)
        for table in several(partial(_part, output, schema), run.sources, Output(output).requests):
            files.add(table)
            yield table.num_rows
        paths = files.close()
        for path in paths:
            storage.publish(path, storage.join(Output(output).lineage, path.name))
    kept = {path.name for path in paths}
    for name in Output(output).lineage_files():
        if name not in kept:
            storage.remove(storage.join(Output(output).lineage, name))


def stale(output: str, rows: int) -> str | None:
    """Why OUTPUT/lineage does not match a manifest of `rows` rows; None if it does or is absent."""
    names = Output(output).lineage_files()
    found = 0
    for name in names:
        try:
            with storage.open_read(storage.join(Output(output).lineage, name)) as stream:
                found += pq.read_metadata(stream).num_rows
        except pa.ArrowException as error:
            return f"{name} cannot be read ({error}): run diffaug compact again"
    if not names or found == rows:
        return None
    return f"it has {found} rows but the manifest has {rows}: run diffaug compact again"


def _part(output: str, schema: pa.Schema, shard: SourceShard) -> pa.Table:
    url = Output(output).part(shard.stem)
    data = pa.BufferReader(storage.read_bytes(url))
    try:
        with pq.ParquetFile(data, page_checksum_verification=True) as part:
            return part.read(use_threads=False).replace_schema_metadata(schema.metadata)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise broken_part(url, error) from error


class _Files:
    """Writes tables to files with a few large row groups."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._paths: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._in_file = 0

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._rows += table.num_rows
        if self._rows >= _ROWS_A_GROUP:
            self._flush()

    def close(self) -> list[Path]:
        """Finish the files and return them; there is at least one."""
        if self._tables or not self._paths:
            self._flush()
        self._end_file()
        return self._paths

    def _flush(self) -> None:
        table = pa.concat_tables(self._tables or [self._schema.empty_table()])
        if self._writer is None:
            self._paths.append(self._folder / f"{len(self._paths):05}.parquet")
            self._writer = pq.ParquetWriter(
                self._paths[-1], self._schema, compression="zstd", write_page_checksum=True
            )
        self._writer.write_table(table.combine_chunks(), row_group_size=max(1, table.num_rows))
        self._in_file += table.num_rows
        self._tables, self._rows = [], 0
        if self._in_file >= _ROWS_A_FILE:
            self._end_file()

    def _end_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._in_file = None, 0

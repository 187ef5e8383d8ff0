"""The manifest, version 1: one row for every planned image, whatever became of it.

A part is one Parquet file for one source shard. Its key-value metadata holds, as JSON, under
`diffaug.report` the shard report (counts, times, host), under `diffaug.recipe` the whole recipe
and under `diffaug.environment` what it ran on. Rows never say when they were made.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "COLUMNS",
    "LONGEST_TEXT",
    "SCHEMA",
    "SCHEMA_VERSION",
    "Part",
    "Row",
    "check_part",
    "iter_rows",
    "read_metadata",
    "read_rows",
]

SCHEMA_VERSION = 1

Row = dict[str, Any]

LONGEST_TEXT = 1 << 16
"""How many bytes of a text member a row takes in."""

_ROWS_AT_ONCE = 512

# name: (type, what it says)
COLUMNS: dict[str, tuple[str, str]] = {
    # who
    "sample_id": (
        "string",
        "hash of recipe digest, source pixels, copy and, where a class conditions, the class; "
        "null when the source could not be decoded",
    ),
    "copy": ("int32", "which copy of the source, from 0; null for a defect of the shard itself"),
    # from
    "source_shard": ("string", "URL of the source shard, without credentials"),
    "source_key": ("string", "webdataset key; null for a defect of the shard itself"),
    "source_member": ("string", "name of the image member"),
    "source_offset": (
        "int64",
        "where the member's data begins in the (uncompressed) tar, in bytes; for a defect of the "
        "shard, where reading stopped",
    ),
    "source_sha256": ("string", "of the image member's bytes"),
    "source_width": ("int32", "pixels, EXIF rotation applied"),
    "source_height": ("int32", "pixels, EXIF rotation applied"),
    "label": ("int64", "the class; null where the label member is no integer"),
    "label_text": (
        "string",
        f"the .txt member, or a label member that is no integer; its first {LONGEST_TEXT:,} bytes",
    ),
    # what
    "model": ("string", "the model as the recipe names it"),
    "model_revision": ("string", "commit on the hub; null for shipped and local models"),
    "model_digest": ("string", "sha256 over weights and configurations"),
    "recipe_digest": ("string", "sha256 over everything that changes an image"),
    "sampler": ("string", "ddim, ddpm, dpmsolver++ or one-step"),
    "strength": ("double", "in (0, 1]; null when the image failed"),
    "t_start": ("int32", "time the image was noised to; null when the image failed"),
    "log_snr": ("double", "log of signal to noise power at t_start, in nats"),
    "steps": ("int32", "calls a whole trajectory would have"),
    "calls": ("int32", "network calls made for this image; null when it failed"),
    "guidance": ("double", "guidance scale; null without guidance"),
    "condition": ("string", "none or label"),
    "prompt": ("string", "null without a prompt"),
    "seed": ("int64", "the recipe's seed"),
    "batch_size": ("int32", "lanes in the fixed batch shape"),
    "dtype": ("string", "what the network computed in"),
    "device": ("string", "device class, such as cpu/avx512_bf16"),
    "diffaug_version": ("string", "of the process that made the image"),
    "torch_version": ("string", "likewise"),
    "diffusers_version": ("string", "likewise"),
    "pillow_version": ("string", "likewise"),
    # out
    "output_shard": ("string", "path of the tar below OUTPUT; null when there is no image"),
    "output_key": ("string", "<source_key>-a<copy>"),
    "output_member": ("string", "name of the image member"),
    "output_offset": ("int64", "where its data begins in the tar, in bytes"),
    "output_sha256": ("string", "of the member's bytes"),
    "output_pixel_sha256": ("string", "of mode, size and pixels, before encoding"),
    "output_width": ("int32", "pixels"),
    "output_height": ("int32", "pixels"),
    "output_bytes": ("int64", "size of the member"),
    # worth
    "score_ssim": ("double", "structural similarity to the source; null below 7 pixels"),
    "score_psnr": ("double", "peak signal-to-noise ratio to the source, in dB; inf when equal"),
    # verdict
    "status": ("string", "ok, filtered or failed"),
    "reason": ("string", "why it is not ok, a sentence; null when it is"),
    "reason_code": ("string", "why it is not ok, a word; null when it is"),
}

_PANDAS_INTEGERS = {"int32": "Int32", "int64": "Int64"}


def _schema() -> pa.Schema:
    fields = [
        pa.field(name, pa.type_for_alias(kind), metadata={"description": text} if text else None)
        for name, (kind, text) in COLUMNS.items()
    ]
    # pandas reads integers with nulls as floats unless the file says Int64, as this does
    columns = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": "unicode" if kind == "string" else kind.replace("double", "float64"),
            "numpy_type": _PANDAS_INTEGERS.get(kind, {"double": "float64"}.get(kind, "str")),
            "metadata": None,
        }
        for name, (kind, _) in COLUMNS.items()
    ]
    pandas = {"index_columns": [], "column_indexes": [], "columns": columns}
    metadata = {"pandas": json.dumps(pandas), "diffaug.schema": str(SCHEMA_VERSION)}
    return pa.schema(fields, metadata=metadata)


SCHEMA: pa.Schema = _schema()


class Part:
    """The rows of one manifest part, kept in a local Arrow file until the part is written.

    The tar's name holds its digest, so no row is whole before the tar is; and a shard may have
    any number of rows, so no more than one batch of them is ever in memory.

    Args:
        spool: the file to keep them in, removed by `close`.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._stream = pa.OSFile(str(spool), "wb")
        self._writer = pa.ipc.new_file(self._stream, SCHEMA)
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Append a row; a column not in it is null, and one the schema lacks is an error."""
        unknown = row.keys() - COLUMNS.keys()
        if unknown:
            raise KeyError(f"not in the manifest's schema: {', '.join(sorted(unknown))}")
        self._rows.append(row)
        if len(self._rows) == _ROWS_AT_ONCE:
            self._flush()

    def write(self, path: Path, output_shard: str | None, metadata: Mapping[str, Any]) -> None:
        """Write the part to a local file; no row can be added after.

        Args:
            path: where to.
            output_shard: the tar that holds every image of these rows.
            metadata: JSON-able values, put under `diffaug.<name>`.
        """
        self._flush()
        self._writer.close()
        self._stream.close()
        packed = {name: json.dumps(value, sort_keys=True) for name, value in metadata.items()}
        packed["digest"] = json.dumps(_digest(self._batches(output_shard), packed))
        with path.open("wb") as sink:
            _serialise(self._batches(output_shard), packed, sink)

    def close(self) -> None:
        """Remove the spool, written or not."""
        self._stream.close()
        self._spool.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._rows:
            columns = {name: [row.get(name) for row in self._rows] for name in COLUMNS}
            self._writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=SCHEMA))
            self._rows = []

    def _batches(self, output_shard: str | None) -> Iterator[pa.RecordBatch]:
        place = SCHEMA.get_field_index("output_shard")
        with pa.OSFile(str(self._spool), "rb") as stream:
            spooled = pa.ipc.open_file(stream)
            for number in range(spooled.num_record_batches):
                batch = spooled.get_batch(number)
                keys = batch["output_key"].to_pylist()
                shards = [None if key is None else output_shard for key in keys]
                yield batch.set_column(place, SCHEMA.field(place), pa.array(shards, pa.string()))


def _serialise(
    batches: Iterable[pa.RecordBatch], packed: Mapping[str, str], sink: IO[bytes]
) -> None:
    """Write a part: with one pyarrow version, its bytes are a function of rows and metadata."""
    named = {f"diffaug.{name}".encode(): packed[name] for name in sorted(packed)}
    schema = SCHEMA.with_metadata({**SCHEMA.metadata, **named})
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _digest(batches: Iterable[pa.RecordBatch], packed: Mapping[str, str]) -> str:
    """sha256 in hex over every row and every metadata value but the digest itself."""
    total = hashlib.sha256()
    for name in sorted(packed.keys() - {"digest", "schema"}):
        total.update(f"{name} {packed[name]}\n".encode())
    for batch in batches:
        for row in batch.to_pylist():
            total.update(json.dumps(row).encode() + b"\n")
    return total.hexdigest()


def read_rows(source: Any) -> list[Row]:
    """The rows of a part (path or file)."""
    rows: list[Row] = pq.read_table(source).to_pylist()
    return rows


def iter_rows(source: Any, columns: Iterable[str] | None = None) -> Iterator[Row]:
    """The rows of a part (an open file) one by one, all columns or some, in constant memory.

    Raises:
        OSError: a page's checksum is not right.
        pyarrow.ArrowException: it is no Parquet file any more.
    """
    names = None if columns is None else list(columns)
    with pq.ParquetFile(source, page_checksum_verification=True) as part:
        for batch in part.iter_batches(batch_size=_ROWS_AT_ONCE, columns=names):
            yield from batch.to_pylist()


def check_part(data: bytes) -> tuple[dict[str, Any], list[Row]]:
    """The metadata and rows of a part, after it has been found to be whole.

    Its digest covers all it says. Where it was written by this pyarrow version it is also written
    again and compared, which covers the bytes that say nothing.

    Raises:
        ValueError: it is not what was written.
        pyarrow.ArrowException: it is no Parquet file any more.
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
        raise ValueError("its rows or metadata are not those its digest was made of")
    written_by = metadata["environment"]["versions"]["pyarrow"]
    if written_by == pa.__version__:
        again = io.BytesIO()
        _serialise(batches, packed, again)
        if again.getvalue() != data:
            raise ValueError("its bytes are not those that were written")
    return metadata, [row for batch in batches for row in batch.to_pylist()]


def read_metadata(source: Any) -> dict[str, Any]:
    """The `diffaug.*` metadata of a part (path or file), its JSON read, without its rows."""
    packed = _packed(pq.read_metadata(source).metadata)
    return {name: json.loads(value) for name, value in packed.items()}


def _packed(raw: Mapping[bytes, bytes] | None) -> dict[str, str]:
    return {
        key.decode().removeprefix("diffaug."): value.decode()
        for key, value in (raw or {}).items()
        if key.startswith(b"diffaug.")
    }

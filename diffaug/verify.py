"""Is an output still what its manifest says? Every tar and image hashed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from diffaug import storage
from diffaug.commit import ShardReport
from diffaug.errors import ConfigError
from diffaug.manifest import Row, check_part
from diffaug.plan import SourceShard, read_run
from diffaug.shards import read_samples

__all__ = ["Difference", "verify"]


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the manifest says: where, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def verify(output: str) -> Iterator[tuple[str, list[Difference]]]:
    """Check an output, yielding (name, differences) for each planned shard, then for the rest.

    A shard's part is held against its digest, its counts added up, its tar hashed whole and each
    image by itself. The last item, `shards/`, lists tars and parts that nothing names.

    Raises:
        ConfigError: it is not the output of a job.
    """
    run = read_run(output)
    if run is None:
        raise ConfigError(
            f"{storage.public_url(output)} is no output of diffaug: it has no run.json"
        )
    named: set[str] = set()
    parts = {f"manifest/{shard.stem}.parquet" for shard in run.sources}
    for shard in run.sources:
        tar, differences = _verify_shard(output, shard)
        if tar is not None:
            named.add(tar)
        yield shard.stem, differences
    yield (
        "shards/",
        [
            *_strays(output, "shards", ".tar", named),
            *_strays(output, "manifest", ".parquet", parts),
        ],
    )


def _strays(output: str, folder: str, suffix: str, named: set[str]) -> Iterator[Difference]:
    what = "no manifest part names this tar" if suffix == ".tar" else "the plan has no such shard"
    for name in storage.listing(storage.join(output, folder), suffix):
        if f"{folder}/{name}" not in named:
            yield Difference(f"{folder}/{name}", what)


def _verify_shard(output: str, shard: SourceShard) -> tuple[str | None, list[Difference]]:
    """The tar its part names, and what differs."""
    part = f"manifest/{shard.stem}.parquet"
    url = storage.join(output, part)
    try:
        metadata, rows = check_part(storage.read_bytes(url))
        report = ShardReport.model_validate(metadata["report"])
    except FileNotFoundError:
        return None, [Difference(part, "missing: the shard is not committed")]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        return None, [Difference(part, f"cannot be read: {error}")]
    if report.source != shard.url:
        return None, [Difference(part, f"belongs to {report.source}, not to {shard.url}")]
    differences = list(_verify_counts(part, report, rows))
    if report.output_shard is not None:
        differences += _verify_tar(output, report, [row for row in rows if row["output_key"]])
    return report.output_shard, differences


def _verify_counts(part: str, report: ShardReport, rows: list[Row]) -> Iterator[Difference]:
    statuses = [row["status"] for row in rows]
    for name in ("ok", "filtered", "failed"):
        if statuses.count(name) != getattr(report, name):
            yield Difference(
                part,
                f"{statuses.count(name)} rows are {name}, its report says {getattr(report, name)}",
            )
    if len(rows) != report.planned:
        yield Difference(part, f"{len(rows)} rows, its report says {report.planned}")


def _verify_tar(output: str, report: ShardReport, rows: list[Row]) -> Iterator[Difference]:
    tar = report.output_shard
    assert tar is not None
    url = storage.join(output, tar)
    try:
        digest = storage.sha256(url)
    except FileNotFoundError:
        yield Difference(tar, "missing")
        return
    if digest != report.output_sha256:
        yield Difference(tar, f"its sha256 is {digest[:8]}…, not {str(report.output_sha256)[:8]}…")
    found = _image_digests(url)
    for row in rows:
        member = row["output_member"]
        if row["output_shard"] != tar:
            yield Difference(member, f"its row names {row['output_shard']}, its report {tar}")
        elif member not in found:
            yield Difference(f"{tar} {member}", "missing")
        elif found[member] != (row["output_offset"], row["output_sha256"]):
            yield Difference(f"{tar} {member}", "its bytes or place are not those of its row")


def _image_digests(url: str) -> dict[str, tuple[int, str]]:
    """(offset, sha256) of every member that a row could name."""
    found = {}
    with storage.open_read(url) as stream:
        for sample in read_samples(stream, {"png", "jpg", "webp"}.__contains__):
            for member in sample.members.values():
                digest = hashlib.sha256(member.data).hexdigest()
                found[member.name] = (member.offset, digest)
    return found

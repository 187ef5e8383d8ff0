"""Is an output still what its manifest says? Every tar and image hashed again, rejects too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from diffaug import storage
from diffaug.errors import DiffaugError, UncommittedError
from diffaug.manifest.part import Row, check_part
from diffaug.output.compact import FOLDER, stale
from diffaug.output.run import Run, SourceShard, the_run
from diffaug.output.survey import ShardReport, read_report, survey
from diffaug.shards import read_samples

__all__ = ["Difference", "rest", "strays", "verify", "verify_shards"]


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the manifest says: where, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def verify(output: str) -> Iterator[tuple[str, list[Difference]]]:
    """Check an output, yielding (name, differences) for each planned shard, then for the rest.

    The last item, `shards/`, lists the strays, and says whether OUTPUT/lineage is out of date.

    Raises:
        ConfigError: it is not the output of a job.
    """
    run = the_run(output)
    yield from verify_shards(output, run.sources)
    yield "shards/", rest(output, run)


def verify_shards(
    output: str, shards: Iterable[SourceShard]
) -> Iterator[tuple[str, list[Difference]]]:
    """Check some of an output's planned shards, yielding (stem, differences) for each.

    A shard's part is held against its digest, its counts added up, its tar hashed whole and each
    image by itself.
    """
    for shard in shards:
        yield shard.stem, list(_verify_shard(output, shard))


def rest(output: str, run: Run) -> list[Difference]:
    """What differs of an output that is of no single shard: strays, and a lineage out of date."""
    return [*strays(output, run), *_lineage(output, run)]


def _lineage(output: str, run: Run) -> Iterator[Difference]:
    if not storage.listing(storage.join(output, FOLDER), ".parquet"):
        return  # then no footer need be read again
    try:
        reports = survey(run.sources, output).committed.values()
    except (DiffaugError, OSError):
        return  # a part is broken, which is a difference by itself
    if why := stale(output, sum(report.planned for report in reports)):
        yield Difference(f"{FOLDER}/", why)


def strays(output: str, run: Run) -> list[Difference]:
    """Tars that no part names, and parts the plan does not have.

    Nothing is said of a tar whose own part cannot be read: that part is a difference by itself.
    """
    tars = [  # first: then comes their part
        f"{folder}/{tar}"
        for folder in ("shards", "rejects")
        for tar in storage.listing(storage.join(output, folder), ".tar")
    ]
    parts = storage.listing(storage.join(output, "manifest"), ".parquet")
    named: set[str] = set()
    unreadable: set[str] = set()
    for part in parts:
        try:
            named |= read_report(storage.join(output, "manifest", part)).tars.keys()
        except (UncommittedError, OSError):
            unreadable.add(part.removesuffix(".parquet"))
    named |= {tar for tar in tars if tar.partition("/")[2].rpartition("-")[0] in unreadable}
    planned = {f"{shard.stem}.parquet" for shard in run.sources}
    return [
        *(Difference(tar, "no manifest part names this tar") for tar in tars if tar not in named),
        *(
            Difference(f"manifest/{part}", "the plan has no such shard")
            for part in parts
            if part not in planned
        ),
    ]


def _verify_shard(output: str, shard: SourceShard) -> Iterator[Difference]:
    part = f"manifest/{shard.stem}.parquet"
    try:
        metadata, rows = check_part(storage.read_bytes(storage.join(output, part)))
        report = ShardReport.model_validate(metadata["report"])
    except FileNotFoundError:
        yield Difference(part, "missing: the shard is not committed")
        return
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        yield Difference(part, f"cannot be read: {error}")
        return
    if report.source != shard.url:
        yield Difference(part, f"belongs to {report.source}, not to {shard.url}")
        return
    yield from _verify_counts(part, report, rows)
    for tar, digest in report.tars.items():
        status = "filtered" if tar == report.rejects_shard else "ok"
        in_it = [row for row in rows if row["output_key"] and row["status"] == status]
        yield from _verify_tar(output, tar, digest, in_it)


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


def _verify_tar(output: str, tar: str, sha256: str, rows: list[Row]) -> Iterator[Difference]:
    url = storage.join(output, tar)
    try:
        digest = storage.sha256(url)
    except FileNotFoundError:
        yield Difference(tar, "missing")
        return
    if digest != sha256:
        yield Difference(tar, f"its sha256 is {digest[:8]}…, not {sha256[:8]}…")
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
        for sample in read_samples(stream, _is_picture):
            for member in sample.members.values():
                digest = hashlib.sha256(member.data).hexdigest()
                found[member.name] = (member.offset, digest)
    return found


def _is_picture(extension: str) -> bool:
    """Of a sample's member: png, or aug0.png in the paired layout."""
    return extension.rpartition(".")[2] in ("png", "jpg", "webp")

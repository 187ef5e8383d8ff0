"""Verifying an output against its manifest by hashing every tar and image again, with rejects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from diffaug import storage
from diffaug.errors import DiffaugError, UncommittedError
from diffaug.manifest.part import Row, check_part
from diffaug.output.compact import stale
from diffaug.output.layout import Output, part_path, stem_of_tar
from diffaug.output.run import Run, SourceShard
from diffaug.output.survey import ShardReport, read_report, survey
from diffaug.shards import read_samples

__all__ = ["Difference", "ShardCheck", "rest", "strays", "verify_shards"]


@dataclass(frozen=True)
class Difference:
    """One difference from the manifest: where it is, and what it is."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class ShardCheck:
    """The result of checking one planned shard.

    Attributes:
        stem: the shard's.
        differences: between the shard's files and its manifest part.
    """

    stem: str
    differences: list[Difference]

    @property
    def has_rows(self) -> bool:
        """Whether its manifest part exists and is whole, so that its rows can be replayed."""
        return all(difference.where != part_path(self.stem) for difference in self.differences)


def verify_shards(output: str, shards: Iterable[SourceShard]) -> Iterator[ShardCheck]:
    """Check some of an output's planned shards.

    A shard's part is compared with its digest, its rows are counted, and its tars are hashed as a
    whole and image by image.
    """
    for shard in shards:
        yield ShardCheck(shard.stem, list(_verify_shard(output, shard)))


def rest(output: str, run: Run) -> list[Difference]:
    """The differences that belong to no single shard: stray files, and an outdated lineage/."""
    return [*strays(output, run), *_lineage(output, run)]


def _lineage(output: str, run: Run) -> Iterator[Difference]:
    if not Output(output).lineage_files():
        return  # so no footer has to be read again
    try:
        reports = survey(run.sources, output).committed.values()
    except (DiffaugError, OSError):
        return  # a part is broken, which is reported as its own difference
    if why := stale(output, sum(report.planned for report in reports)):
        yield Difference("lineage/", why)


def strays(output: str, run: Run) -> list[Difference]:
    """Tars that no part names, and parts of shards that the plan does not have.

    A tar whose own part cannot be read is not reported, since that part is a difference itself.
    """
    layout = Output(output)
    tars = layout.tars()  # listed first, since a job publishes them before their part
    stems = layout.stems()
    named: set[str] = set()
    unreadable: set[str] = set()
    for stem in stems:
        try:
            named |= read_report(layout.part(stem)).tars.keys()
        except (UncommittedError, OSError):
            unreadable.add(stem)
    named |= {tar for tar in tars if stem_of_tar(tar) in unreadable}
    planned = {shard.stem for shard in run.sources}
    return [
        *(Difference(tar, "no manifest part names this tar") for tar in tars if tar not in named),
        *(
            Difference(part_path(stem), "the plan has no such shard")
            for stem in stems
            if stem not in planned
        ),
    ]


def _verify_shard(output: str, shard: SourceShard) -> Iterator[Difference]:
    part = part_path(shard.stem)
    try:
        metadata, rows = check_part(storage.read_bytes(Output(output).at(part)))
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
                f"{statuses.count(name)} rows are {name}, but its report counts "
                f"{getattr(report, name)}",
            )
    if len(rows) != report.planned:
        yield Difference(part, f"{len(rows)} rows, but its report counts {report.planned}")


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
            yield Difference(
                member, f"its row names {row['output_shard']}, but its report names {tar}"
            )
        elif member not in found:
            yield Difference(f"{tar} {member}", "missing")
        elif found[member] != (row["output_offset"], row["output_sha256"]):
            yield Difference(f"{tar} {member}", "its bytes or offset differ from its row")


def _image_digests(url: str) -> dict[str, tuple[int, str]]:
    """The (offset, sha256) of every member that a row could name."""
    found = {}
    with storage.open_read(url) as stream:
        for sample in read_samples(stream, _is_picture):
            for member in sample.members.values():
                digest = hashlib.sha256(member.data).hexdigest()
                found[member.name] = (member.offset, digest)
    return found


def _is_picture(extension: str) -> bool:
    """Whether a member is a picture by its extension: png, or aug0.png in the paired layout."""
    return extension.rpartition(".")[2] in ("png", "jpg", "webp")

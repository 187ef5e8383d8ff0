"""Verifying an output against its manifest by hashing every tar and image again, with rejects."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from diffaug import storage
from diffaug.errors import ConfigError, UncommittedError
from diffaug.manifest.part import Row, check_part
from diffaug.output.compact import stale
from diffaug.output.layout import Output, part_path, stem_of_tar
from diffaug.output.run import Run, SourceShard
from diffaug.output.survey import ShardReport, changed_since, read_report
from diffaug.shards import read_samples, split_name

__all__ = ["Difference", "ShardCheck", "rest", "strays", "verify_shards"]

_log = logging.getLogger(__name__)


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
    """The differences beside the shards' own files.

    These are stray files, an outdated lineage/, and sources that have changed, so that their images
    can no longer be rebuilt. A source that is gone or out of reach is no difference.
    """
    found = _Found.of(output)
    urls = {shard.stem: shard.url for shard in run.sources}
    whole = [
        report
        for stem, report in found.reports.items()
        if report is not None and report.source == urls.get(stem)
    ]
    differences = [*_strays(found, urls), *_changed(whole)]
    if len(whole) == sum(stem in urls for stem in found.reports):  # else a part is a difference
        differences += _lineage(output, whole)
    if len(whole) == len(urls):
        differences += _list(output, found.reports.values())
    return differences


def strays(output: str, run: Run) -> list[Difference]:
    """Tars that no part names, and parts of shards that the plan does not have.

    A tar whose own part cannot be read is not reported, since that part is a difference itself.
    """
    return list(_strays(_Found.of(output), {shard.stem for shard in run.sources}))


@dataclass(frozen=True)
class _Found:
    """What an output holds.

    Attributes:
        tars: their paths below OUTPUT.
        reports: those of its parts, by stem; None where the part cannot be read.
    """

    tars: list[str]
    reports: dict[str, ShardReport | None]

    @classmethod
    def of(cls, output: str) -> _Found:
        layout = Output(output)
        tars = layout.tars()  # listed first, since a job publishes them before their part
        reports: dict[str, ShardReport | None] = {}
        for stem in layout.stems():
            try:
                reports[stem] = read_report(layout.part(stem))
            except (UncommittedError, OSError):
                reports[stem] = None
        return cls(tars, reports)


def _strays(found: _Found, planned: Collection[str]) -> Iterator[Difference]:
    named = {tar for report in found.reports.values() if report for tar in report.tars}
    unreadable = {stem for stem, report in found.reports.items() if report is None}
    for tar in found.tars:
        if tar not in named and stem_of_tar(tar) not in unreadable:
            yield Difference(tar, "no manifest part names this tar")
    for stem in found.reports:
        if stem not in planned:
            yield Difference(part_path(stem), "the plan has no such shard")


def _changed(reports: list[ShardReport]) -> Iterator[Difference]:
    """The sources that have changed since; of a store that does not answer, none."""
    stores: dict[str, list[ShardReport]] = {}
    for report in reports:
        stores.setdefault(_store(report.source), []).append(report)
    for store, of_store in stores.items():
        try:
            changed = changed_since(of_store)
        except (ConfigError, OSError) as error:
            _log.warning("%s: whether a source has changed is not known: %s", store, error)
            continue
        for report in changed:
            what = (
                "the source has changed since it was augmented, so its images can no longer be "
                f"rebuilt: augment with --redo {report.stem} does it again"
            )
            yield Difference(report.source, what)


def _list(output: str, reports: Iterable[ShardReport | None]) -> Iterator[Difference]:
    """Whether shards.txt, if there is one, lists the tars that the parts name."""
    try:
        text = storage.read_bytes(Output(output).shards_txt).decode(errors="replace")
    except FileNotFoundError:
        return
    tars = {report.output_shard for report in reports if report and report.output_shard}
    if set(text.splitlines()) != tars:
        yield Difference("shards.txt", "it lists other tars than the parts: run the job again")


def _store(url: str) -> str:
    """Protocol and host of a URL; a path on this machine itself, since each can fail alone."""
    scheme, marked, path = url.partition("://")
    host = path.partition("/")[0]
    return f"{scheme}://{host}" if marked else url


def _lineage(output: str, reports: list[ShardReport]) -> Iterator[Difference]:
    if why := stale(output, sum(report.planned for report in reports)):
        yield Difference("lineage/", why)


def _verify_shard(output: str, shard: SourceShard) -> Iterator[Difference]:
    part = part_path(shard.stem)
    try:
        metadata, rows = check_part(storage.read_bytes(Output(output).at(part)))
        report = ShardReport.of(metadata["report"])
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
    found = _digests(url, {row["output_member"] for row in rows})
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


def _digests(url: str, members: Collection[str]) -> dict[str, tuple[int, str]]:
    """The (offset, sha256) of every member whose name ends as that of one of these."""
    endings = {split[1] for split in map(split_name, members) if split is not None}
    found = {}
    with storage.open_read(url) as stream:
        for sample in read_samples(stream, endings.__contains__):
            for member in sample.members.values():
                digest = hashlib.sha256(member.data).hexdigest()
                found[member.name] = (member.offset, digest)
    return found

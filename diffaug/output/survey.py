"""Shard reports: which shards of an output are committed, by its parts' footers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import IO, Any

import pyarrow as pa
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as checked

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.manifest.part import read_metadata
from diffaug.output.footers import add_reports, are_kept, kept_lines, report_in
from diffaug.output.layout import Output, broken_part
from diffaug.output.run import SourceShard
from diffaug.threads import several

__all__ = [
    "ShardReport",
    "Survey",
    "changed_since",
    "own_report",
    "read_report",
    "refuse_changed",
    "survey",
]

_FEW = 64
"""Up to so many parts are requested one by one, since the folder may hold a hundred thousand."""

_BROKEN = pa.ArrowException, ValueError, KeyError
"""What reading the footer of a broken part raises."""

_CLOCKS = timedelta(minutes=1)
"""How much the clocks of a store and of a machine that reads from it may differ."""


@checked(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """The outcome of one source shard, kept in its part's metadata as `diffaug.report`.

    Attributes:
        source: URL of the source shard.
        source_bytes: its stored size.
        source_sha256: of its stored bytes, in hex.
        source_read_at: when reading began, UTC, ISO 8601.
        stem: names its tar and its manifest part.
        planned: rows; always ok + filtered + failed.
        ok: images in the tar.
        filtered: images that a filter rejected.
        failed: rows without an image.
        passed_over: keys of the source that are no sample and have no row, such as README.txt.
        geometry: of how many images that were made, kept or filtered, the pixels lie where the
            source has them: `in_place`, `redrawn` at the source's size by the model, or `moved`, as
            in a cut; None where it was not recorded.
        lost_colour: images of colour pictures that are grey, since their model is.
        blurred: images that were enlarged more than twice.
        output_shard: the tar's path below OUTPUT; None if no image was made.
        output_sha256: of the whole tar.
        output_bytes: size of the tar.
        rejects_shard: path of the tar of rejected images; None if there is none.
        rejects_sha256: of that whole tar.
        rejects_bytes: its size.
        started_at: UTC, ISO 8601.
        seconds: from the shard's first row to its commit.
        host: name of the machine.
        pid: of the process.
    """

    source: str
    source_bytes: int
    source_sha256: str
    source_read_at: str
    stem: str
    planned: int
    ok: int
    filtered: int
    failed: int
    passed_over: int = 0  # this and the next three are not recorded by version 0.1.0
    geometry: dict[str, int] | None = None
    lost_colour: int = 0
    blurred: int = 0
    output_shard: str | None
    output_sha256: str | None
    output_bytes: int
    rejects_shard: str | None
    rejects_sha256: str | None
    rejects_bytes: int
    started_at: str
    seconds: float
    host: str
    pid: int

    @classmethod
    def of(cls, fields: Any) -> ShardReport:
        """As a part's metadata has it.

        Raises:
            ValueError: it is no report.
        """
        return _reports().validate_python(fields)

    def fields(self) -> dict[str, Any]:
        """As a part's metadata has it."""
        return asdict(self)

    @property
    def tars(self) -> dict[str, str]:
        """The sha256 of each tar of the shard, by its path below OUTPUT."""
        named = {
            self.output_shard: self.output_sha256,
            self.rejects_shard: self.rejects_sha256,
        }
        return {path: digest for path, digest in named.items() if path and digest}


@cache
def _reports() -> TypeAdapter[ShardReport]:
    return TypeAdapter(ShardReport)


@dataclass(frozen=True, slots=True)
class Survey:
    """The progress of a job.

    Attributes:
        committed: the reports of committed shards, by stem.
        missing: the other shards, in order.
        versions: of the files of the parts, before they were read (see `storage.versions`), by
            stem; of a remote output there may be none.
    """

    committed: dict[str, ShardReport]
    missing: list[SourceShard]
    versions: dict[str, object] = field(default_factory=dict)


def survey(shards: Iterable[SourceShard], output: str, before: Survey | None = None) -> Survey:
    """Find out which of these shards are committed.

    Args:
        shards: planned ones.
        output: of the job.
        before: an earlier survey of it; where the output is on this machine, a part that is the
            same file as then is not read again.

    Raises:
        ConfigError: a shard's part belongs to another source.
        UncommittedError: a shard's part is broken.
    """
    if storage.is_local(output):
        return _survey_listed(shards, output, before)
    shards = list(shards)
    if len(shards) > _FEW:
        return _survey_listed(shards, output, None)
    storage.forget_listings(output)
    found = several(partial(_report_if_there, output), shards, Output(output).requests)
    reports = dict(zip((shard.stem for shard in shards), found, strict=True))
    return Survey(
        {stem: report for stem, report in reports.items() if report is not None},
        [shard for shard in shards if reports[shard.stem] is None],
    )


def _survey_listed(shards: Iterable[SourceShard], output: str, before: Survey | None) -> Survey:
    versions = Output(output).versions()
    found: list[SourceShard] = []
    missing: list[SourceShard] = []
    for shard in shards:
        (found if shard.stem in versions else missing).append(shard)

    known, done = (before.versions, before.committed) if before is not None else ({}, {})
    is_kept = are_kept(output, len(found))
    is_new = any(known.get(shard.stem) != versions[shard.stem] for shard in found)
    lines = kept_lines(output) if is_kept and is_new else {}
    read: list[str] = []

    def report(shard: SourceShard) -> ShardReport:
        version = versions[shard.stem]
        if known.get(shard.stem) == version:
            return done[shard.stem]
        fields = report_in(lines.pop(shard.stem, b""), version)
        if fields is not None and fields.get("source") == shard.url:
            with suppress(ValueError):  # what somebody else wrote there
                return ShardReport.of(fields)
        read.append(shard.stem)
        return own_report(output, shard)

    reports = several(report, found, Output(output).requests)
    committed = dict(zip((shard.stem for shard in found), reports, strict=True))
    if is_kept and read:
        anew = 2 * len(read) > len(committed)
        kept = (
            (stem, versions[stem], committed[stem].fields())
            for stem in (committed if anew else read)
        )
        add_reports(output, kept, anew=anew)
    return Survey(committed, missing, {stem: versions[stem] for stem in committed})


def _report_if_there(output: str, shard: SourceShard) -> ShardReport | None:
    try:
        return own_report(output, shard)
    except FileNotFoundError:
        return None


def changed_since(reports: Iterable[ShardReport]) -> list[ShardReport]:
    """The reports of those shards whose sources have changed since they were augmented.

    A file of the same size that has not been written since counts as unchanged. One that is gone
    or that its store cannot list (http) is not looked at.

    Raises:
        OSError: storage failed.
    """
    by_source = {report.source: report for report in reports}
    now = storage.stats(by_source)
    return [by_source[url] for url, stat in now.items() if _has_changed(by_source[url], stat)]


def refuse_changed(reports: Iterable[ShardReport]) -> None:
    """Check that the sources of committed shards have not changed (see `changed_since`).

    Raises:
        ConfigError: a source has changed.
    """
    changed = changed_since(reports)
    if changed:
        more = f" and {len(changed) - 1} more have" if len(changed) > 1 else " has"
        raise ConfigError(
            f"{changed[0].source}{more} changed since being augmented, and existing output is "
            f"never replaced unasked: --redo {changed[0].stem} does that shard again (redo= in "
            "Python and flows), and `diffaug verify` names every such shard; or give what changed "
            "a new name, or choose a new OUTPUT"
        )


def own_report(output: str, shard: SourceShard) -> ShardReport:
    """The report in the part named by a shard's stem.

    Raises:
        ConfigError: the part belongs to another source.
        UncommittedError: the part is broken.
    """
    url = Output(output).part(shard.stem)
    report = read_report(url)
    if report.source != shard.url:
        raise ConfigError(
            f"{storage.public_url(url)} belongs to {report.source}, not to {shard.url}, since two "
            "jobs were planned at once: choose a new OUTPUT"
        )
    return report


def read_report(url: str) -> ShardReport:
    """The report in a part's metadata, read without the part's rows.

    Raises:
        UncommittedError: the file exists, but is not a manifest part.
    """
    try:
        end = storage.read_end(url)
        if end is not None:
            with suppress(*_BROKEN):  # or the footer is longer
                return _read(pa.BufferReader(end))
        with storage.open_read(url) as stream:
            return _read(stream)
    except FileNotFoundError:
        raise
    except OSError:  # pyarrow's, for a broken footer? An error of the store would come again
        data = io.BytesIO(storage.read_bytes(url))
    except _BROKEN as error:
        raise broken_part(url, error) from error
    try:
        return _read(data)
    except (OSError, *_BROKEN) as error:
        raise broken_part(url, error) from error


def _read(stream: IO[bytes] | pa.BufferReader) -> ShardReport:
    return ShardReport.of(read_metadata(stream)["report"])


def _has_changed(report: ShardReport, stat: storage.Stat) -> bool:
    """Compare sizes; only a file written since is read and digested again."""
    if stat.size != report.source_bytes:
        return stat.size is not None
    begun = datetime.fromisoformat(report.source_read_at)
    if stat.modified is None or stat.modified < begun - _CLOCKS:
        return False
    return storage.sha256(report.source) != report.source_sha256

"""How a shard is committed: its tars are published first, then its manifest part."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import socket
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diffaug import storage
from diffaug.execution import device_class, versions
from diffaug.job.copy import Copy
from diffaug.job.copytar import CopyTar, File
from diffaug.job.rows import output_row
from diffaug.manifest.part import Part, Row
from diffaug.output.footers import add_report, are_kept
from diffaug.output.layout import REJECTS, SHARDS, Output, tar_path
from diffaug.output.run import Run, SourceShard
from diffaug.output.survey import ShardReport, own_report
from diffaug.pictures.fit import GEOMETRIES, Loss
from diffaug.pictures.medium import Medium, Value
from diffaug.shards import Sample, ShardWriter
from diffaug.storage import Fingerprint

__all__ = ["ShardSink", "environment"]

_log = logging.getLogger(__name__)


class _Tar:
    """A tar being written in a local folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("wb")
        self._writer = ShardWriter(self._stream)
        self._empty = True

    def add(self, name: str, data: bytes) -> int:
        """Append a member and return the offset of its data."""
        self._empty = False
        return self._writer.add(name, data)

    def discard(self) -> None:
        """Drop it."""
        self._stream.close()
        self._path.unlink(missing_ok=True)

    def publish(self, output: str, folder: str, stem: str) -> _Published:
        """Move it into a folder of OUTPUT, unless it is empty."""
        self._writer.close()
        self._stream.close()
        if self._empty:
            self._path.unlink()
            return _Published()
        with self._path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        name, size = tar_path(folder, stem, digest), self._path.stat().st_size
        storage.publish(self._path, Output(output).at(name))
        return _Published(name, digest, size)


@dataclass(frozen=True, slots=True)
class _Published:
    """A tar in OUTPUT: its path there, its sha256 and its size; nothing where it was empty."""

    name: str | None = None
    sha256: str | None = None
    bytes: int = 0


class ShardSink:
    """Collects a shard's tars and manifest part in a local folder, and commits or discards them."""

    def __init__(
        self,
        shard: SourceShard,
        run: Run,
        output: str,
        medium: Medium[Value],
        folder: Path,
    ) -> None:
        self._shard = shard
        self._run = run
        self._output = output
        self._medium = medium
        self._started = time.time()
        self._part_path = folder / f"{shard.stem}.parquet"
        self._tar = _Tar(folder / f"{shard.stem}.tar")
        self._rejects = _Tar(folder / f"{shard.stem}.rejects.tar")
        self._kept = CopyTar(self._tar, run.recipe)
        self._turned_away = CopyTar(self._rejects, run.recipe)
        self._part = Part(folder / f"{shard.stem}.arrow", run.recipe.adds_columns)
        self._counts = {"ok": 0, "filtered": 0, "failed": 0}
        self._geometry: dict[str, int] = dict.fromkeys(GEOMETRIES, 0)
        self._lost = Counter[Loss]()

    def add_failed(self, copy: Copy) -> None:
        """Add the row of a copy that has no image."""
        self._part.add(copy.row)
        self._counts["failed"] += 1

    def add_image(self, copy: Copy) -> None:
        """Add the image of a copy that is kept, its short lineage, and its row.

        Raises:
            DefectError: the image cannot be stored; nothing was added.
        """
        file = self._file(copy)
        image, sample, row = self._made(copy)
        place = self._kept.add(row, file, sample)
        self._part.add(row | output_row(image, file.data, place, self._medium) | {"status": "ok"})
        self._counts["ok"] += 1

    def add_filtered(self, copy: Copy, verdict: Row) -> None:
        """Add the image and the row of a copy that filters rejected.

        The image goes to the rejects as its own sample, or nowhere if the recipe keeps no rejects.

        Args:
            copy: the copy.
            verdict: the columns that give the reason.

        Raises:
            DefectError: as `add_image`.
        """
        file = self._file(copy)
        image, sample, row = self._made(copy)
        row |= verdict
        self._kept.add_source(sample)
        keep = self._run.recipe.keep_rejects
        place = self._turned_away.add_each(row, file, sample) if keep else None
        self._part.add(row | output_row(image, file.data, place, self._medium))
        self._counts["filtered"] += 1

    def _made(self, copy: Copy) -> tuple[Value, Sample, Row]:
        """The image, the source's sample and the row of a copy that has an image."""
        assert copy.image is not None
        assert copy.finish is not None
        assert copy.source is not None
        assert copy.source.sample is not None
        self._geometry[copy.finish.fit.geometry] += 1
        self._lost.update(copy.finish.losses())
        return copy.image, copy.source.sample, copy.row

    def _file(self, copy: Copy) -> File:
        """The file of a copy's image."""
        assert copy.source is not None
        assert copy.image is not None
        format = self._run.recipe.format_for(copy.source.jpeg)
        return File(format, self._medium.write(copy.image, format))

    def discard(self) -> None:
        """Drop everything, each file even if the disk is too full to close another."""
        with ExitStack() as files:
            for drop in (self._part.close, self._tar.discard, self._rejects.discard):
                files.callback(drop)

    def commit(self, source: Fingerprint, passed_over: int = 0) -> ShardReport:
        """Publish the tars, then the part; if another writer was first, its part counts.

        Args:
            source: the shard as it was read.
            passed_over: how many of its keys are no sample.

        Raises:
            ConfigError: the part's name is taken by another source.
        """
        report = self._publish_tars(source, passed_over)
        self._part.write(
            self._part_path, report.output_shard, self._metadata(report), report.rejects_shard
        )
        self._part.close()
        url = Output(self._output).part(self._shard.stem)
        if storage.create(self._part_path, url):
            if are_kept(self._output, len(self._run.sources)):
                add_report(self._output, self._shard.stem, report.fields())
            return report
        theirs = own_report(self._output, self._shard)
        if theirs.tars != report.tars:
            _log.warning(
                "%s was committed by another writer with other bytes; the tars of this one are no "
                "longer named by a part: `diffaug verify --clean` removes them",
                report.source,
            )
        return theirs

    def _publish_tars(self, source: Fingerprint, passed_over: int) -> ShardReport:
        kept = self._tar.publish(self._output, SHARDS, self._shard.stem)
        turned_away = self._rejects.publish(self._output, REJECTS, self._shard.stem)
        return ShardReport(
            source=self._shard.url,
            source_bytes=source.size,
            source_sha256=source.sha256,
            source_read_at=source.read_at.isoformat(timespec="seconds"),
            stem=self._shard.stem,
            planned=sum(self._counts.values()),
            **self._counts,
            passed_over=passed_over,
            geometry=self._geometry,
            lost_colour=self._lost["colour"],
            blurred=self._lost["sharpness"],
            output_shard=kept.name,
            output_sha256=kept.sha256,
            output_bytes=kept.bytes,
            rejects_shard=turned_away.name,
            rejects_sha256=turned_away.sha256,
            rejects_bytes=turned_away.bytes,
            started_at=datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            seconds=round(time.time() - self._started, 3),
            host=socket.gethostname(),
            pid=os.getpid(),
        )

    def _metadata(self, report: ShardReport) -> dict[str, Any]:
        judged = {"judges": self._run.judges} if self._run.judges else {}
        return {
            "report": report.fields(),
            "recipe": self._run.recipe.model_dump(mode="json"),
            "environment": environment(self._run),
            **judged,
        }


def environment(run: Run) -> dict[str, Any]:
    """What a part's metadata says of where its images were made: in this process."""
    return {
        "versions": versions(run.recipe.medium),
        "noise": run.noise,
        "execution": run.execution.model_dump(),
        "device_class": device_class(run.execution.device),
        "platform": platform.platform(),
    }

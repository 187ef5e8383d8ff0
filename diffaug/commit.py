"""How a shard becomes part of an output: tar first, then its manifest part, which commits it."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from diffaug import storage
from diffaug.codec import encode
from diffaug.execution import device_class, versions
from diffaug.manifest import Part, Row
from diffaug.plan import Run, SourceShard
from diffaug.reports import ShardReport, own_report
from diffaug.rows import lineage, output_row
from diffaug.shards import Member, ShardWriter
from diffaug.storage import Fingerprint

__all__ = ["ShardSink"]

_log = logging.getLogger(__name__)


class ShardSink:
    """Gathers one shard's tar and manifest part in a local folder, and commits or discards them."""

    def __init__(self, shard: SourceShard, run: Run, output: str, folder: Path) -> None:
        self._shard = shard
        self._run = run
        self._output = output
        self._started = time.time()
        self._tar_path = folder / f"{shard.stem}.tar"
        self._part_path = folder / f"{shard.stem}.parquet"
        self._stream = self._tar_path.open("wb")
        self._tar = ShardWriter(self._stream)
        self._part = Part(folder / f"{shard.stem}.arrow")
        self._counts = {"ok": 0, "filtered": 0, "failed": 0}

    def add_failed(self, row: Row) -> None:
        """Add a row that has no image."""
        self._part.add(row)
        self._counts["failed"] += 1

    def add_image(self, row: Row, image: Image.Image, members: dict[str, Member]) -> None:
        """Add an image, what is carried with it, its short lineage, and its row.

        Args:
            row: the columns known so far, its scores among them.
            image: what came out of the lanes, at the source's size.
            members: carried members by extension.
        """
        format = self._run.recipe.format
        key = f"{row['source_key']}-a{row['copy']}"
        data = encode(image, format)
        offset = self._tar.add(f"{key}.{format}", data)
        for extension, member in members.items():
            self._tar.add(f"{key}.{extension}", member.data)
        self._tar.add(f"{key}.diffaug.json", lineage(row))
        out = output_row(image, data, key, f"{key}.{format}", offset)
        self._part.add(row | out | {"status": "ok"})
        self._counts["ok"] += 1

    def discard(self) -> None:
        """Drop everything."""
        self._stream.close()
        self._part.close()
        self._tar_path.unlink(missing_ok=True)

    def commit(self, source: Fingerprint) -> ShardReport:
        """Publish the tar, then the part. If another writer was first, theirs is what counts.

        Args:
            source: the shard as it was read.

        Raises:
            ConfigError: the part's name is taken by another source.
        """
        self._tar.close()
        self._stream.close()
        report = self._publish_tar(source)
        self._part.write(self._part_path, report.output_shard, self._metadata(report))
        self._part.close()
        url = storage.join(self._output, "manifest", f"{self._shard.stem}.parquet")
        if storage.create(self._part_path, url):
            return report
        theirs = own_report(self._output, self._shard)
        if theirs.output_sha256 != report.output_sha256:
            _log.warning("%s was committed by another writer with other bytes", report.source)
        return theirs

    def _publish_tar(self, source: Fingerprint) -> ShardReport:
        with self._tar_path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        name, size = None, 0
        if self._counts["ok"]:
            name = f"shards/{self._shard.stem}-{digest[:8]}.tar"
            size = self._tar_path.stat().st_size
            storage.publish(self._tar_path, storage.join(self._output, name))
        else:
            self._tar_path.unlink()
        return ShardReport(
            source=self._shard.url,
            source_bytes=source.size,
            source_sha256=source.sha256,
            source_read_at=source.read_at.isoformat(timespec="seconds"),
            stem=self._shard.stem,
            planned=sum(self._counts.values()),
            **self._counts,
            output_shard=name,
            output_sha256=digest if name else None,
            output_bytes=size,
            started_at=datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            seconds=round(time.time() - self._started, 3),
            host=socket.gethostname(),
            pid=os.getpid(),
        )

    def _metadata(self, report: ShardReport) -> dict[str, Any]:
        return {
            "report": report.model_dump(),
            "recipe": self._run.recipe.model_dump(mode="json"),
            "environment": {
                "versions": versions(),
                "noise": self._run.noise,
                "execution": self._run.execution.model_dump(),
                "device_class": device_class(self._run.execution.device),
                "platform": platform.platform(),
            },
        }

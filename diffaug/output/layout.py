"""The layout of OUTPUT, the folder or URL that a job writes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diffaug import storage
from diffaug.errors import ConfigError, UncommittedError

__all__ = [
    "LINEAGE_MEMBER",
    "REJECTS",
    "RUN_JSON",
    "SHARDS",
    "Output",
    "broken_part",
    "copy_key",
    "part_path",
    "stem_of_tar",
    "tar_path",
]

SHARDS, REJECTS = "shards", "rejects"
"""The folders of tars: those of kept images, and those of images that filters rejected."""

RUN_JSON = "run.json"
"""The file that makes a folder a job's OUTPUT."""

LINEAGE_MEMBER = "diffaug.json"
"""The extension of an image's short lineage."""

_MANIFEST, _LINEAGE, _REPORT = "manifest", "lineage", "report"

_TAR = re.compile(rf"({SHARDS}|{REJECTS})/(?P<stem>.+)-[0-9a-f]{{8}}\.tar")

_REQUESTS = 32
"""Concurrent requests to a remote store, which answers many as fast as one."""


@dataclass(frozen=True, slots=True)
class Output:
    """A job's OUTPUT.

    Attributes:
        url: a local path, or a URL that fsspec knows.

    Raises:
        ConfigError: the URL is blank, or the root of the disk.
    """

    url: str

    def __post_init__(self) -> None:
        storage.refuse_root(self.url)

    @property
    def public(self) -> str:
        """The URL without credentials, for messages."""
        return storage.public_url(self.url)

    @property
    def run_json(self) -> str:
        """Everything frozen about the job."""
        return self.at(RUN_JSON)

    @property
    def shards_txt(self) -> str:
        """The committed tars, one a line; written when the job is complete."""
        return self.at("shards.txt")

    @property
    def manifest(self) -> str:
        """The folder of the manifest's parts."""
        return self.at(_MANIFEST)

    @property
    def lineage(self) -> str:
        """The folder in which `diffaug compact` merges the parts into a few large files."""
        return self.at(_LINEAGE)

    @property
    def requests(self) -> int:
        """How many of its files to request at a time."""
        return 1 if storage.is_local(self.url) else _REQUESTS

    def at(self, path: str) -> str:
        """The URL of a path below OUTPUT."""
        return storage.join(self.url, *path.split("/"))

    def report(self, name: str) -> str:
        """A file of the report that `diffaug report` writes."""
        return self.at(f"{_REPORT}/{name}")

    def part(self, stem: str) -> str:
        """The manifest part of the source shard with this stem."""
        return self.at(part_path(stem))

    def stems(self) -> list[str]:
        """The stems of the existing parts, sorted."""
        return sorted(self.versions())

    def versions(self) -> dict[str, object]:
        """The versions of the existing parts' files, by stem (see `storage.versions`)."""
        found = storage.versions(self.manifest, ".parquet")
        return {name.removesuffix(".parquet"): version for name, version in found.items()}

    def tars(self) -> list[str]:
        """The paths of the existing tars below OUTPUT, committed or not."""
        return [
            f"{folder}/{tar}"
            for folder in (SHARDS, REJECTS)
            for tar in storage.listing(self.at(folder), ".tar")
        ]

    def lineage_files(self) -> list[str]:
        """The names of the files in `lineage`."""
        return _parquet(self.lineage)

    def not_an_output(self) -> ConfigError:
        """The error for a folder or URL that no job has written."""
        return ConfigError(f"{self.public} is not an output of diffaug: it has no run.json")


def tar_path(folder: str, stem: str, sha256: str) -> str:
    """The path of a tar below OUTPUT: its name holds the first 8 hex digits of its digest."""
    return f"{folder}/{stem}-{sha256[:8]}.tar"


def stem_of_tar(path: str) -> str | None:
    """The stem in a tar's path below OUTPUT; None where no job gives a file such a name."""
    named = _TAR.fullmatch(path)
    return named and named["stem"]


def part_path(stem: str) -> str:
    """The path of a shard's manifest part below OUTPUT."""
    return f"{_MANIFEST}/{stem}.parquet"


def copy_key(source_key: str, copy: int) -> str:
    """The webdataset key of a copy: `<source key>-a<copy>`."""
    return f"{source_key}-a{copy}"


def broken_part(url: str, error: Exception) -> UncommittedError:
    """The error for a manifest part that cannot be read."""
    reason = str(error).strip()
    return UncommittedError(
        f"{storage.public_url(url)} cannot be read ({reason}): if it is broken, delete it and run "
        "the job again, which writes it again"
    )


def _parquet(folder: str) -> list[str]:
    return storage.listing(folder, ".parquet")

"""What a folder of pictures was packed into: which file is which sample, and what was left out.

A folder that is named as SOURCE is packed beside the OUTPUT, once. NAME.json next to the shards
records every picture of the folder, so that the next run knows what is new in it, and people which
file a key is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.pack.folder import FolderSource

__all__ = [
    "ADDED",
    "Picture",
    "Record",
    "Stamp",
    "listing",
    "pictures_of",
    "publish",
    "read_records",
]


ADDED = "-added"
"""What follows a folder's name in the names of the shards of pictures that were added later."""


class Stamp(NamedTuple):
    """What tells whether a file is still the same without reading it."""

    size: int | None
    modified: float | None


class Picture(BaseModel):
    """One picture of the folder.

    Attributes:
        size: of its file, in bytes; None where the store does not report it.
        modified: when it was last written, in seconds since 1970; None likewise.
        sha256: of its file; empty if it was left out. A manifest's `source_sha256` is the same.
        key: of its sample in the shards; None if it was left out.
        left_out: why it was left out; empty if it was not.
        max_pixels: the limit that it exceeds, if it was left out for that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int | None
    modified: float | None
    sha256: str = ""
    key: str | None = None
    left_out: str = ""
    max_pixels: int | None = None

    def is_like(self, stamp: Stamp) -> bool:
        """Whether a file has this size and time."""
        return (self.size, self.modified) == stamp


class Record(BaseModel):
    """The pictures that one packing of a folder took in: all of them, or those added since.

    Attributes:
        folder: its identity (see `storage.identity`), without credentials.
        name: prefix of the shards' names, which the records of a folder share.
        classes: the names of the classes, in order; None if the folder has no class folders.
        shards: the names of the tars.
        pictures: by their paths below the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    name: str
    classes: tuple[str, ...] | None
    shards: tuple[str, ...]
    pictures: dict[str, Picture]


def listing(source: FolderSource) -> dict[str, Stamp]:
    """Size and time of every picture of a folder, by its path below the folder."""
    urls = {storage.join(source.url, path): path for path in source.paths}
    if not storage.is_local(source.url):
        found = storage.stats(urls)
        stats = {url: found.get(url, storage.Stat(None, None)) for url in urls}
        return {
            urls[url]: Stamp(
                stat.size, None if stat.modified is None else stat.modified.timestamp()
            )
            for url, stat in stats.items()
        }
    folder, stamps = Path(storage.tidy(source.url)), {}
    for path in urls.values():
        try:
            stat = (folder / path).stat()
            stamps[path] = Stamp(stat.st_size, stat.st_mtime)
        except OSError:  # a link to nothing; packing leaves it out, and states why
            stamps[path] = Stamp(None, None)
    return stamps


def read_records(place: str) -> dict[str, Record]:
    """The records in a folder or URL of shards, by the prefix of their shards' names.

    They are sorted by their folders' names, and those of one folder as they were written.

    Raises:
        ConfigError: one cannot be read.
    """
    found = {}
    for file in storage.listing(place, ".json"):
        url = storage.join(place, file)
        try:
            found[file.removesuffix(".json")] = Record.model_validate(
                json.loads(storage.read_bytes(url))
            )
        except (ValueError, ValidationError) as error:
            raise ConfigError(
                f"{storage.public_url(url)} does not record the pictures of a folder "
                f"({type(error).__name__}): delete {storage.public_url(place)}, or choose another "
                "OUTPUT"
            ) from None
    return dict(sorted(found.items(), key=lambda item: (item[1].name, _number(*item))))


def _number(prefix: str, record: Record) -> int:
    """Which packing of its folder a record is of: 2 for photos-added-2, and 1 for photos."""
    number = prefix.removeprefix(f"{record.name}{ADDED}-")
    return int(number) if number != prefix and number.isdecimal() else 1


def pictures_of(records: Mapping[str, Record], name: str, max_pixels: int) -> dict[str, Picture]:
    """What is known of the pictures of a folder, by their paths below it.

    Args:
        records: as `read_records` returns them.
        name: that of the folder's records.
        max_pixels: what a picture may declare now: one that was left out under a lower limit is as
            good as new.
    """
    known: dict[str, Picture] = {}
    for record in records.values():
        for path, one in record.pictures.items() if record.name == name else ():
            is_known = one.max_pixels is None or one.max_pixels >= max_pixels
            if is_known and (path not in known or known[path].key is None):
                known[path] = one
    return known


def publish(record: Record, place: str, prefix: str) -> None:
    """Write PREFIX.json, unless it is there with the same pictures.

    Raises:
        ConfigError: another process packed other pictures under that name.
    """
    url = storage.join(place, f"{prefix}.json")
    with storage.scratch(place) as folder:
        local = folder / f"{prefix}.json"
        local.write_text(_text(record), encoding="utf-8")
        if storage.create(local, url):
            return
    if storage.read_bytes(url) != _text(record).encode():
        raise ConfigError(
            f"{storage.public_url(url)} was written by another job meanwhile, for other pictures: "
            "run it again"
        )


def _text(record: Record) -> str:
    """JSON with a picture a line, so that people can search it."""
    fields = record.model_dump(exclude={"pictures"})
    lines = _lines(record.pictures.items())
    head = json.dumps(fields, indent=1).removesuffix("\n}")
    return f'{head},\n "pictures": {{\n{lines}\n }}\n}}\n'


def _lines(pictures: Iterable[tuple[str, Picture]]) -> str:
    return ",\n".join(
        f"  {json.dumps(path)}: {json.dumps(picture.model_dump(exclude_defaults=True))}"
        for path, picture in pictures
    )

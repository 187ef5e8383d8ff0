"""Writing samples into shards of limited size, and publishing the shards."""

from __future__ import annotations

import contextlib
import hashlib
import re
import tarfile
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from diffaug import storage
from diffaug.errors import ConfigError, DiffaugError
from diffaug.extensions import TEXTS
from diffaug.pack.check import Checked, checked
from diffaug.pack.entry import OtherShardsError, Totals, publish_entry
from diffaug.pack.source import PictureSource
from diffaug.recipe import Recipe
from diffaug.shards import ShardWriter

__all__ = ["Limits", "Outcome", "pack"]

_NAME = re.compile(r"[^\W_][\w.-]*")


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a shard ends: at `images` images, or before it would exceed `bytes` bytes.

    An image that is too large for any shard gets a shard of its own.
    """

    images: int = 10_000
    bytes: int | None = None

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ConfigError(f"--shard-count must be at least 1, got {self.images}")
        if self.bytes is not None and self.bytes < 1:
            raise ConfigError(f"--shard-bytes must be at least 1, got {self.bytes}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one picture: packed if `reason` is None, else left out for that reason.

    `sha256` is that of a packed picture's file; `code` that of the `DefectError` of another.
    """

    name: str
    reason: str | None
    sha256: str = field(default="", compare=False)
    code: str = field(default="", compare=False)


def pack(
    source: PictureSource,
    output: str,
    name: str,
    *,
    tally: Totals,
    limits: Limits | None = None,
    shuffle: int | None = None,
    max_pixels: int = Recipe.model_fields["max_pixels"].default,
) -> Iterator[Outcome]:
    """Write OUTPUT/<name>-000000.tar and so on, then OUTPUT/<name>.yaml, the dataset's entry.

    Each shard is published as soon as it is full. A shard that already exists with the same bytes
    is kept, so packing again does nothing or finishes an interrupted run.

    Args:
        source: see `open_source`.
        output: folder or URL.
        name: letters, digits and ``._-``; see `safe_name`.
        tally: updated as each picture is done.
        limits: of a shard; by default 10,000 images.
        shuffle: seed of the order, 0 or more; by default the order is the source's.
        max_pixels: images that declare more are left out.

    Yields:
        the outcome for each picture, as soon as it is known.

    Raises:
        ConfigError: an argument is wrong, or `output` cannot be written.
        OtherShardsError: it holds other shards or a different entry of that name.
        DiffaugError: no image could be packed.
    """
    limits = limits or Limits()
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "--name must begin with a letter or digit and contain only letters, digits, '.', '_' "
            f"and '-', got {name!r}"
        )
    if shuffle is not None and not 0 <= shuffle < 2**64:
        raise ConfigError(f"--shuffle takes a seed, 0 or more and below 2**64, got {shuffle}")
    storage.refuse_root(output)
    _refuse_inside(source.url, output)
    if limits.bytes is None:
        most = -(-len(source) // limits.images)
        _refuse_more(output, name, {_shard_name(name, number) for number in range(most)})
    pictures = checked(source.pictures(shuffle), max_pixels)
    return _pack(source, pictures, _Shards(output, name, limits, tally))


def _pack(
    source: PictureSource, pictures: Generator[Checked, None, None], shards: _Shards
) -> Iterator[Outcome]:
    tally = shards.tally
    with contextlib.closing(pictures), shards:
        for found in pictures:
            if found.defect is not None:
                tally.left_out += 1
                defect = found.defect
                yield Outcome(found.picture.name, defect.reason, code=defect.code)
                continue
            shards.add(_members(found, tally.packed, source.classes))
            tally.add(found)
            yield Outcome(found.picture.name, None, hashlib.sha256(found.data).hexdigest())
        shards.finish()
        _refuse_loss(source, tally)
        _refuse_more(shards.output, shards.name, tally.shards)
        publish_entry(tally, source, shards.output, shards.name, shards.folder)


def _members(found: Checked, number: int, classes: tuple[str, ...] | None) -> dict[str, bytes]:
    """The members of one sample by name, in the order of writing."""
    key, label = f"{number:08d}", found.picture.label
    members = {f"{key}.{found.extension}": found.data}
    if label is not None:
        members[f"{key}.cls"] = str(label).encode()
        if classes is not None and found.extension not in TEXTS:
            members[f"{key}.txt"] = classes[label].encode()
    return members


class _Shards:
    """Writes samples into one tar after another, and publishes each when it is full.

    Use it as a context manager: leaving it removes unfinished files.
    """

    def __init__(self, output: str, name: str, limits: Limits, tally: Totals) -> None:
        self.output = output
        self.name = name
        self.tally = tally
        self._limits = limits
        self._stack = contextlib.ExitStack()
        self._images = 0

    def __enter__(self) -> _Shards:
        try:
            self.folder = self._stack.enter_context(storage.scratch(self.output))
        except OSError as error:
            raise ConfigError(
                f"cannot write to {storage.public_url(self.output)}: {error.strerror or error}: "
                "choose an OUTPUT that can be written"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:  # which removes the folder, even if the disk is too full to close a file
            if self._images:
                self._stream.close()

    def add(self, members: dict[str, bytes]) -> None:
        """Append a sample, starting a new shard if this one is full."""
        if self._images and self._is_full(members):
            self.finish()
        if not self._images:
            self._path = self.folder / _shard_name(self.name, len(self.tally.shards))
            self._stream = self._path.open("wb")
            self._tar = ShardWriter(self._stream)
        self._images += 1
        for name, data in members.items():
            self._tar.add(name, data)

    def finish(self) -> None:
        """Publish the shard being written, if there is one."""
        if self._images:
            self._tar.close()
            self._stream.close()
            self._images = 0
            self._publish(self._path)

    def _is_full(self, members: dict[str, bytes]) -> bool:
        if self._images >= self._limits.images:
            return True
        if self._limits.bytes is None:
            return False
        blocks = sum(1 + -(-len(data) // tarfile.BLOCKSIZE) for data in members.values())
        end = self._stream.tell() + (blocks + 2) * tarfile.BLOCKSIZE
        return -(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE > self._limits.bytes

    def _publish(self, path: Path) -> None:
        url = storage.join(self.output, path.name)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = path.stat().st_size
        if storage.create(path, url):
            self.tally.written += 1
        elif storage.sha256(url) == digest:
            path.unlink()
        else:
            raise OtherShardsError(
                f"{storage.public_url(url)} already exists with other bytes: choose another "
                "OUTPUT or --name"
            )
        self.tally.shards[path.name] = digest
        self.tally.bytes += size


def _shard_name(name: str, number: int) -> str:
    return f"{name}-{number:06d}.tar"


def _refuse_inside(source: str, output: str) -> None:
    """Refuse an output inside its source, where the next run would find it as a class."""
    if storage.lies_in(output, source):
        raise ConfigError(
            f"{storage.public_url(output)} lies in {storage.public_url(source)}, so its shards "
            "would become part of the source: choose another OUTPUT"
        )


def _refuse_more(output: str, name: str, expected: Collection[str]) -> None:
    """Refuse an output with further shards of that name, which would be read with these."""
    pattern = re.compile(rf"{re.escape(name)}-\d{{6,}}\.tar")
    there = [found for found in storage.listing(output, ".tar") if pattern.fullmatch(found)]
    more = [found for found in there if found not in expected]
    if more:
        raise OtherShardsError(
            f"{storage.public_url(output)} holds {len(more)} shards of that name that are not "
            f"this dataset's, from {more[0]} on: choose another OUTPUT or --name"
        )


def _refuse_loss(source: PictureSource, tally: Totals) -> None:
    if tally.found != len(source):
        raise ConfigError(
            f"{storage.public_url(source.url)} changed while it was being packed, from "
            f"{len(source)} images to {tally.found}: pack it again, into another OUTPUT"
        )
    if not tally.packed:
        raise DiffaugError(f"none of {tally.found} images can be packed: nothing was written")

"""Writing generated images to one grid, a folder, or shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from braceexpand import braceexpand
from numpy.typing import NDArray

from diffaug import storage
from diffaug.errors import ConfigError, DiffaugError
from diffaug.pictures.codec import encode, to_picture
from diffaug.pictures.grid import grid
from diffaug.shards import ShardWriter

__all__ = ["check_folder", "write_images", "write_shards"]

Images = Iterable[NDArray[np.float32]]


def write_images(
    images: Images, labels: Sequence[int | None], output: str, columns: int
) -> Iterator[int]:
    """Write images, yielding after each how many are done.

    Args:
        images: float32 (C, H, W), nominally in [-1, 1], one for each label.
        labels: each image's class, or None.
        output: `x.png` for one grid; `x.tar` or `x-{000000..000003}.tar`, on any fsspec URL, for
            shards that share the images evenly, with the classes in .cls; anything else is a
            folder of PNGs, with one folder a class if there are classes, named by its number with
            leading zeros, so that names sort as numbers.
        columns: how many images side by side in a grid.

    Raises:
        ConfigError: `output` has another extension, cannot be written, or already holds something.
        DiffaugError: a folder could be written only in part.
        OSError: storage failed.
    """
    storage.refuse_root(output, "output")
    if output.endswith(".tar"):
        files = (encode(to_picture(image), "png") for image in images)
        return write_shards(files, "png", labels, output)
    if not storage.is_local(output):
        raise ConfigError(f"{storage.public_url(output)}: only shards (.tar) go to a remote store")
    path = storage.local_path(output)
    if output.endswith(".png"):
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: name a file for a grid")
        check_folder(path.parent)
        return _grid(images, path, columns)
    if path.suffix:
        raise ConfigError(f"{output}: use .png for a grid, .tar for shards, or name a folder")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} already exists and is not empty: choose another output")
    check_folder(path)
    return _folder(images, labels, path)


def check_folder(folder: Path) -> None:
    """Find out now, not when everything is made, whether a folder can be written.

    Raises:
        ConfigError: it cannot.
    """
    try:
        with storage.scratch(str(folder)):
            pass
    except OSError as error:
        raise ConfigError(
            f"cannot write to {folder}: {error.strerror or error}: choose another output"
        ) from None


def _urls(pattern: str) -> list[str]:
    try:
        urls = list(braceexpand(pattern))
    except ValueError:
        raise ConfigError(f"{pattern}: its braces do not match") from None
    for url in urls:
        if storage.exists(url):
            raise ConfigError(f"{storage.public_url(url)} already exists: choose another output")
    return urls


def _grid(images: Images, path: Path, columns: int) -> Iterator[int]:
    made = []
    for image in images:
        made.append(image)
        yield len(made)
    with storage.scratch(str(path.parent)) as scratch:
        fresh = scratch / path.name
        grid(made, columns).save(fresh)
        storage.publish(fresh, str(path))


def _folder(images: Images, labels: Sequence[int | None], folder: Path) -> Iterator[int]:
    width = len(str(max((label for label in labels if label is not None), default=0)))
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder if label is None else folder / f"{label:0{width}d}"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{index:08d}.png"
        try:
            path.write_bytes(encode(to_picture(image), "png"))
        except OSError as error:
            path.unlink(missing_ok=True)
            raise DiffaugError(
                f"cannot write to {place}: {error.strerror or error}: {folder} holds the first "
                f"{index} of {len(labels)} images; choose another output"
            ) from error
        yield index + 1


def write_shards(
    files: Iterable[bytes], extension: str, labels: Sequence[int | None], output: str
) -> Iterator[int]:
    """Write files to shards that share them evenly, yielding after each how many are done.

    Args:
        files: one for each label.
        extension: of each.
        labels: each file's class, or None.
        output: `x.tar` or `x-{000000..000003}.tar`, on any fsspec URL.

    Raises:
        ConfigError: `output` already holds something.
        OSError: storage failed.
    """
    return _shards(files, extension, labels, _urls(output))


def _shards(
    files: Iterable[bytes], extension: str, labels: Sequence[int | None], urls: list[str]
) -> Iterator[int]:
    source, done = iter(zip(files, labels, strict=True)), 0
    for index, url in enumerate(urls):
        upto = len(labels) * (index + 1) // len(urls)
        with storage.scratch(url.rpartition("/")[0] or ".") as scratch:
            path = scratch / "shard.tar"
            with path.open("wb") as stream:
                writer = ShardWriter(stream)
                for data, label in islice(source, upto - done):
                    writer.add(f"{done:08d}.{extension}", data)
                    if label is not None:
                        writer.add(f"{done:08d}.cls", str(label).encode())
                    done += 1
                    yield done
                writer.close()
            if not storage.create(path, url):
                raise ConfigError(
                    f"another process wrote {storage.public_url(url)} meanwhile: choose another "
                    "output"
                )

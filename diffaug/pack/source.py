"""What every source gives: its pictures, one after the other, in an order that is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import fsspec
import numpy as np

from diffaug import storage
from diffaug.errors import ConfigError, DefectError

__all__ = [
    "Picture",
    "Source",
    "base_name",
    "class_numbers",
    "cover",
    "file_system",
    "order",
    "printable",
]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image that a source names.

    Attributes:
        name: what the source calls it, for people.
        load: reads the image file's bytes; OSError and ValueError where it cannot.
        extension: lower case, without dot; None to take it from the bytes.
        label: the class, from 0; None in a source without labels.
        defect: why it cannot be packed, where the source itself says so.
    """

    name: str
    load: Callable[[], bytes]
    extension: str | None = None
    label: int | None = None
    defect: DefectError | None = None


class Source(Protocol):
    """A finite, ordered collection of pictures.

    Attributes:
        url: where it lies.
        classes: the names of the classes, in order; None where labels have no names, or there
            are none.
        notes: sentences about what was passed over, for people.
    """

    url: str
    classes: tuple[str, ...] | None
    notes: list[str]

    def __len__(self) -> int:
        """How many pictures there are, good or bad."""

    def pictures(self, shuffle: int | None) -> Iterator[Picture]:
        """Every picture once: in the source's order, or in that of the seed `shuffle`.

        Raises:
            ConfigError: the source is not what it was when it was opened, or cannot be shuffled.
        """


def order(count: int, shuffle: int | None) -> list[int] | range:
    """The numbers below `count` in order, or as the seed `shuffle` permutes them.

    They are sorted by the raw 64-bit words of Philox, which no version of numpy changes.
    """
    if shuffle is None:
        return range(count)
    words = np.random.Philox(key=shuffle).random_raw(count)
    permuted: list[int] = np.argsort(words, kind="stable").tolist()
    return permuted


def class_numbers(
    found: Collection[str], given: tuple[str, ...] | None, where: str
) -> dict[str, int]:
    """The number of each class: its place among those found, sorted, or among those given.

    Raises:
        ConfigError: a class was found that is not among those given.
    """
    names = sorted(found) if given is None else given
    unknown = sorted(set(found) - set(names))
    if unknown:
        shown = ", ".join(map(printable, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise ConfigError(f"{where} has {len(unknown)} classes that --classes lacks: {shown}")
    return {name: number for number, name in enumerate(names)}


def cover(classes: tuple[str, ...] | None, largest: int, where: str) -> None:
    """Check that names given to integer labels reach the largest of them.

    Raises:
        ConfigError: they do not.
    """
    if classes is not None and largest >= len(classes):
        raise ConfigError(
            f"{where} has labels up to {largest}, but {len(classes)} classes are named: name "
            f"{largest + 1}, for the labels 0 to {largest}"
        )


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        ConfigError: it is no URL that can be opened here.
    """
    storage.is_local(url)
    fs, path = fsspec.core.url_to_fs(url)
    return fs, path


def base_name(url: str) -> str:
    """The last part of a URL's path; of a local one, of its absolute path."""
    path = file_system(url)[1] if storage.is_local(url) else storage.public_url(url)
    return printable(path.rstrip("/").rpartition("/")[2])


def printable(name: str) -> str:
    """A file's name with its bytes that are no UTF-8 replaced."""
    return name.encode("utf-8", "replace").decode("utf-8")

"""The interface of every source: its pictures, one after another, in a defined order."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from diffaug import storage
from diffaug.errors import ConfigError, DefectError
from diffaug.storage.find import filesystem

__all__ = [
    "Listed",
    "PictureSource",
    "base_name",
    "class_numbers",
    "class_order",
    "cover",
    "file_system",
    "order",
    "printable",
    "renumbered",
]

_WHOLE = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Listed:
    """One picture that a source lists, not read yet.

    Attributes:
        name: what the source calls it, for people.
        load: reads the image file's bytes; raises OSError or ValueError if it cannot.
        extension: in lower case, without the dot; None to derive it from the bytes.
        label: the class, from 0; None in a source without labels.
        defect: why it cannot be packed, if the source itself already shows that.
    """

    name: str
    load: Callable[[], bytes]
    extension: str | None = None
    label: int | None = None
    defect: DefectError | None = None


class PictureSource(Protocol):
    """A finite, ordered collection of pictures.

    Attributes:
        url: where the source lies.
        classes: the names of the classes, in order; None if the labels have no names or the
            source has no labels.
        notes: sentences for people about what the source skips.
    """

    url: str
    classes: tuple[str, ...] | None
    notes: list[str]

    def __len__(self) -> int:
        """How many pictures there are, good or bad."""

    def pictures(self, shuffle: int | None) -> Iterator[Listed]:
        """Every picture once, in the source's order or in that of the seed `shuffle`.

        Raises:
            ConfigError: the source changed after it was opened, or cannot be shuffled.
        """


def order(count: int, shuffle: int | None) -> list[int] | range:
    """The numbers below `count`, in order or permuted by the seed `shuffle`.

    A permutation sorts them by the raw 64-bit words of Philox, which are the same in every
    version of numpy.
    """
    if shuffle is None:
        return range(count)
    words = np.random.Philox(key=shuffle).random_raw(count)
    permuted: list[int] = np.argsort(words, kind="stable").tolist()
    return permuted


def class_order(names: Iterable[str]) -> list[str]:
    """The names of classes, sorted: as numbers if all are whole numbers, so that 10 follows 9."""
    names = list(names)
    if _are_numbers(names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def renumbered(numbers: Mapping[str, int]) -> list[str]:
    """A sentence for people if classes are named by other numbers than their own; else none."""
    for name, number in numbers.items() if _are_numbers(numbers) else ():
        if int(name) != number:
            return [f"classes are numbered from 0 in order: {name} is class {number}, and so on"]
    return []


def _are_numbers(names: Iterable[str]) -> bool:
    return all(map(_WHOLE.fullmatch, names))


def class_numbers(
    found: Collection[str], given: tuple[str, ...] | None, where: str
) -> dict[str, int]:
    """The number of each class: its place among `given`, by default in their `class_order`.

    Raises:
        ConfigError: a class was found that `given` lacks.
    """
    names = class_order(found) if given is None else given
    unknown = sorted(set(found) - set(names))
    if unknown:
        shown = ", ".join(map(printable, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise ConfigError(f"{where} has {len(unknown)} classes that --classes lacks: {shown}")
    return {name: number for number, name in enumerate(names)}


def cover(classes: tuple[str, ...] | None, largest: int, where: str) -> None:
    """Check that the names given for integer labels cover the largest label.

    Raises:
        ConfigError: they do not.
    """
    if classes is not None and largest >= len(classes):
        raise ConfigError(
            f"{where} has labels up to {largest}, but {len(classes)} classes are named: name "
            f"{largest + 1}, for the labels 0 to {largest}"
        )


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path within it.

    Raises:
        ConfigError: the URL cannot be opened here.
    """
    return filesystem(url)


def base_name(url: str) -> str:
    """The last part of a URL's path, or of the absolute path if it is local."""
    path = file_system(url)[1] if storage.is_local(url) else storage.public_url(url)
    return printable(path.rstrip("/").rpartition("/")[2])


def printable(name: str) -> str:
    """A file's name with any bytes that are not UTF-8 replaced."""
    return name.encode("utf-8", "replace").decode("utf-8")

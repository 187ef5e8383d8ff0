"""Copies as the members of a tar: their names, and what comes with each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from diffaug.job.rows import Place, lineage
from diffaug.manifest.part import Row
from diffaug.output.layout import LINEAGE_MEMBER, copy_key
from diffaug.recipe import Recipe
from diffaug.shards import Member, Sample
from diffaug.shards.reading import Reading

__all__ = ["CopyTar", "File"]


class _Tar(Protocol):
    def add(self, name: str, data: bytes) -> int: ...


@dataclass(frozen=True, slots=True)
class File:
    """An image's file: its extension, png, jpg or webp, and its bytes."""

    extension: str
    data: bytes


class CopyTar:
    """A tar that copies are added to, in the recipe's layout.

    In the layout `each` a copy is its own sample, with what is carried; in `paired` its source's
    sample comes first, once, and the image is a member of that.

    Args:
        tar: where members are added.
        recipe: what made the copies.
    """

    def __init__(self, tar: _Tar, recipe: Recipe) -> None:
        self._tar = tar
        self._recipe = recipe
        self._reading = Reading.of(recipe)
        self._paired = recipe.layout == "paired"
        self._last_source: str | None = None

    def add(self, row: Row, file: File, sample: Sample) -> Place:
        """Add the image of a copy that is kept, and its short lineage."""
        if not self._paired:
            return self.add_each(row, file, sample)
        self.add_source(sample)
        return self._add(str(sample.key), self.stem(str(sample.key), row["copy"]), file, row)

    def add_each(self, row: Row, file: File, sample: Sample) -> Place:
        """Add an image as its own sample, whatever the layout."""
        key = copy_key(str(sample.key), row["copy"])
        # new jobs carry no such member: see unused.py, and copies.py for format=auto
        taken, carried = (file.extension, LINEAGE_MEMBER), self._reading.carried(sample)
        carried = {name: one for name, one in carried.items() if name not in taken}
        if (label := row.get("to_label")) is not None:
            carried = self._given(label, carried)
        return self._add(key, key, file, row, carried)

    def _given(self, label: int, carried: Mapping[str, Member]) -> dict[str, Member]:
        """What is carried with a copy of another class: that class, and its source's beside it."""
        own, given = self._recipe.label_key, dict(carried)
        if own in carried:
            given[self._recipe.from_key] = carried[own]
        return given | {own: Member(own, 0, str(label).encode())}

    def add_source(self, sample: Sample) -> None:
        """Add the source's sample before the first of its copies, where the layout has it."""
        if not self._paired or sample.key == self._last_source:
            return
        extension, members = self._reading.image_key(sample.members), sample.members
        carried = self._reading.carried(sample)
        for name, member in ({extension: members[extension]} | carried).items():
            self._tar.add(f"{sample.key}.{name}", member.data)
        self._last_source = sample.key

    def stem(self, key: str, copy: int) -> str:
        """What the names of a copy's members begin with."""
        return f"{key}.aug{copy}" if self._paired else copy_key(key, copy)

    def _add(
        self,
        key: str,
        stem: str,
        file: File,
        row: Row,
        carried: Mapping[str, Member] = MappingProxyType({}),
    ) -> Place:
        """Add an image, what is carried with it, and its short lineage, under names with a stem."""
        name = f"{stem}.{file.extension}"
        offset = self._tar.add(name, file.data)
        for extension, member in carried.items():
            self._tar.add(f"{stem}.{extension}", member.data)
        self._tar.add(f"{stem}.{LINEAGE_MEMBER}", lineage(row))
        return Place(key, name, offset)

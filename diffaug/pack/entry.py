"""Counts of what was packed, and the dataset's entry for a catalogue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.pack.check import Checked
from diffaug.pack.source import PictureSource, base_name

__all__ = ["OtherShardsError", "Totals", "publish_entry"]

_FOR_PEOPLE = ("licence", "source")
"""The fields that a person fills in: a difference in them is no reason to refuse."""

_SINCE_0_1_0 = ("class_numbers",)
"""The fields that entries of version 0.1.0 lack, which is no reason either."""


class OtherShardsError(ConfigError):
    """Shards or an entry of that name are there already, and hold other pictures."""


@dataclass
class Totals:
    """Counts of a source's pictures so far: `found = packed + left_out`.

    Attributes:
        packed: images in shards.
        left_out: images that could not be packed.
        counts: images in each class.
        modes: those of L (grey) and RGB that occur; none of texts.
        widths: of the narrowest and the widest image, in pixels; None of texts.
        heights: of the shortest and the tallest image, in pixels; None of texts.
        shards: sha256 of each tar, by its name.
        bytes: total size of the tars.
        written: files published by this run, the entry included; the others already existed.
    """

    packed: int = 0
    left_out: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    modes: set[str] = field(default_factory=set)
    widths: tuple[int, int] | None = None
    heights: tuple[int, int] | None = None
    shards: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    written: int = 0

    @property
    def found(self) -> int:
        """Images seen so far."""
        return self.packed + self.left_out

    @property
    def failed_fraction(self) -> float:
        """Images left out divided by images found; 0 before any is found."""
        return self.left_out / self.found if self.found else 0.0

    @property
    def colour(self) -> str:
        """`grey`, `RGB` or `mixed`."""
        return "mixed" if len(self.modes) > 1 else "RGB" if "RGB" in self.modes else "grey"

    @property
    def pattern(self) -> str:
        """The names of all shards as one brace range."""
        first, *others = self.shards
        if not others:
            return first
        stem, _, low = first.removesuffix(".tar").rpartition("-")
        high = others[-1].removesuffix(".tar").rpartition("-")[2]
        return f"{stem}-{{{low}..{high}}}.tar"

    def add(self, found: Checked) -> None:
        """Count a packed picture."""
        self.packed += 1
        if found.mode:
            self.modes.add(found.mode)
            self.widths = _widen(self.widths, found.size[0])
            self.heights = _widen(self.heights, found.size[1])
        if found.picture.label is not None:
            self.counts[found.picture.label] += 1

    def __str__(self) -> str:
        return f"{self.found} found = {self.packed} packed + {self.left_out} left out"


def _widen(bounds: tuple[int, int] | None, value: int) -> tuple[int, int]:
    low, high = bounds or (value, value)
    return min(low, value), max(high, value)


def publish_entry(
    tally: Totals, source: PictureSource, output: str, name: str, folder: Path
) -> None:
    """Write OUTPUT/<name>.yaml, by way of a local folder, unless it already exists.

    An entry that exists keeps the licence and source that a person has filled in.

    Raises:
        OtherShardsError: a different entry has that name.
    """
    entry = _entry(tally, source, name)
    local, url = folder / f"{name}.yaml", storage.join(output, f"{name}.yaml")
    local.write_text(yaml.safe_dump(entry, sort_keys=False, allow_unicode=True), encoding="utf-8")
    if storage.create(local, url):
        tally.written += 1
        return
    there = _read_entry(url)
    free = {*_FOR_PEOPLE, *(key for key in _SINCE_0_1_0 if key not in there)}
    differ = [key for key in entry if key not in free and entry[key] != there.get(key)]
    if differ:
        raise OtherShardsError(
            f"{storage.public_url(url)} already exists and differs in {', '.join(differ)}: "
            "choose another OUTPUT or --name"
        )


def _entry(tally: Totals, source: PictureSource, name: str) -> dict[str, Any]:
    where, names = source.url, source.classes
    noun = "image" if tally.modes else "text"
    return {
        "name": name,
        "licence": None,
        "source": base_name(where) if storage.is_local(where) else storage.public_url(where),
        "shards": tally.pattern,
        f"{noun}s": tally.packed,
        "left_out": tally.left_out,
        "bytes": tally.bytes,
        **(_of_pictures(tally) if tally.modes else {}),
        "classes": max(tally.counts, default=-1) + 1 if names is None else list(names),
        **({"class_numbers": dict(zip(names, count(), strict=False))} if names else {}),
        f"{noun}s_per_class": _per_class(tally, names),
        "sha256": tally.shards,
    }


def _of_pictures(tally: Totals) -> dict[str, Any]:
    return {
        "colour": tally.colour,
        "width": dict(zip(("min", "max"), tally.widths or (), strict=False)),
        "height": dict(zip(("min", "max"), tally.heights or (), strict=False)),
    }


def _per_class(tally: Totals, classes: tuple[str, ...] | None) -> dict[int, int]:
    labels = sorted(tally.counts) if classes is None else range(len(classes))
    return {label: tally.counts[label] for label in labels}


def _read_entry(url: str) -> dict[str, Any]:
    try:
        entry = yaml.safe_load(storage.read_bytes(url))
    except (yaml.YAMLError, UnicodeDecodeError):
        entry = None
    return entry if isinstance(entry, dict) else {}

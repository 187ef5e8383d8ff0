"""Images as a page shows them: each beside its source, with all that its row says."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diffaug import storage
from diffaug.manifest.part import Row
from diffaug.report.pictures import Embedded, embed

__all__ = ["Card", "Cards", "Strip"]


@dataclass(frozen=True, slots=True)
class Card:
    """An image, or what should have been one.

    Attributes:
        name: which one it is, on the page.
        row: all columns of it.
        picture: what came out; without a URI where nothing did.
        source: the name of its source's picture.
    """

    name: str
    row: Row
    picture: Embedded
    source: str

    @property
    def label(self) -> str:
        """The class, in words or a number; empty without one."""
        text, number = self.row["label_text"], self.row["label"]
        return text or ("" if number is None else str(number))

    @property
    def caption(self) -> str:
        """The strength, and that it was turned away."""
        strength = self.row["strength"]
        said = self.row["status"] if strength is None else f"{strength:.2f}"
        return f"{said}, filtered" if self.row["status"] == "filtered" else said


@dataclass(frozen=True, slots=True)
class Strip:
    """A source image and what came out of it."""

    source: Embedded
    label: str
    cards: list[Card]


class Cards:
    """The cards of some rows of an output, by their places.

    Args:
        rows: all columns of each.
        output: OUTPUT of the job.
        prefix: of names, where a page shows several outputs.
    """

    def __init__(self, rows: Mapping[int, Row], output: str, prefix: str = "") -> None:
        self._output = output
        self._cards: dict[int, Card] = {}
        self._sources: dict[str, Embedded] = {}
        names: dict[tuple[str, str | None], str] = {}
        for place, row in rows.items():
            name = names.setdefault(
                (row["source_shard"], row["source_key"]), f"{prefix}{len(names)}"
            )
            if name not in self._sources:
                self._sources[name] = _source(row)
            made = embed(row, output) if row["output_shard"] else Embedded()
            self._cards[place] = Card(f"{prefix}{place}", row, made, name)

    def of(self, places: Iterable[int]) -> list[Card]:
        """The cards of these rows."""
        return [self._cards[place] for place in places]

    def strip(self, places: Iterable[int]) -> Strip:
        """The cards of one source."""
        cards = self.of(places)
        return Strip(self._sources[cards[0].source], cards[0].label, cards)

    def details(self) -> dict[str, Any]:
        """What a click shows: rows, commands and source pictures."""
        return {
            "sources": {name: source.uri for name, source in self._sources.items()},
            "cards": {
                card.name: {
                    "source": card.source,
                    "row": {name: _shown(value) for name, value in card.row.items()},
                    "command": self._command(card.row),
                }
                for card in self._cards.values()
            },
        }

    def _command(self, row: Row) -> str:
        """What makes the image again."""
        if row["output_shard"] is None:
            return ""
        output = storage.public_url(self._output)
        return shlex.join(["diffaug", "replay", output, row["sample_id"]])


def _source(row: Row) -> Embedded:
    """A defective one is no picture."""
    if row["status"] == "failed":
        return Embedded(why="no picture")
    return embed(row)


def _shown(value: object) -> str:
    return "" if value is None else str(value)

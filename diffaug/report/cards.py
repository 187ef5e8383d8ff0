"""Images or texts as a page shows them: each next to its source, with all columns of its row."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from diffaug import storage
from diffaug.manifest.part import Row
from diffaug.recipe import Recipe
from diffaug.report.pictures import SIDE, Embedded, embed, output_picture, source_picture
from diffaug.report.texts import Written

__all__ = ["Card", "Cards", "Strip"]


@dataclass(frozen=True, slots=True)
class Card:
    """An image, or a failed attempt at one.

    Attributes:
        name: its identifier on the page.
        row: all columns of its row.
        picture: the image or text made; without a URI if there is none.
        source: the name of its source's picture.
    """

    name: str
    row: Row
    picture: Embedded | Written
    source: str

    @property
    def label(self) -> str:
        """The class as text or number; empty without one."""
        text, number = self.row["label_text"], self.row["label"]
        own = text or ("" if number is None else str(number))
        given = self.row.get("to_label")
        return own if given in (None, number) else f"{own} → {given}"

    @property
    def caption(self) -> str:
        """The strength, and whether filters rejected the image."""
        strength = self.row["strength"]
        text = self.row["status"] if strength is None else f"{strength:.2f}"
        return f"{text}, filtered" if self.row["status"] == "filtered" else text


@dataclass(frozen=True, slots=True)
class Strip:
    """A source image and the images made from it.

    Attributes:
        source: the source picture.
        label: its class; empty without one.
        cards: the images made from it.
    """

    source: Embedded | Written
    label: str
    cards: list[Card]


class Cards:
    """Cards of some rows of an output, by the rows' places.

    Args:
        rows: all columns of each row, by its place.
        output: OUTPUT of the job.
        recipe: of the job.
        prefix: prefix of all names, for a page that shows several outputs.
        side: longest side of a picture, in pixels.
    """

    def __init__(
        self,
        rows: Mapping[int, Row],
        output: str,
        recipe: Recipe,
        prefix: str = "",
        side: int = SIDE,
    ) -> None:
        self._output = output
        self._cards: dict[int, Card] = {}
        self._sources: dict[str, Embedded | Written] = {}
        names: dict[tuple[str, str | None], str] = {}
        nothing = "no text" if recipe.medium == "text" else "no image"
        for place, row in rows.items():
            name = names.setdefault(
                (row["source_shard"], row["source_key"]), f"{prefix}{len(names)}"
            )
            if name not in self._sources:
                self._sources[name] = _source(row, recipe, side)
            made: Embedded | Written = Embedded(why=nothing)
            if row["output_shard"]:
                read = partial(output_picture, output, row, recipe)
                made = embed(read, side, self._sources[name])
            self._cards[place] = Card(f"{prefix}{place}", row, made, name)

    def of(self, places: Iterable[int]) -> list[Card]:
        """The cards of the rows at these places."""
        return [self._cards[place] for place in places]

    def strip(self, places: Iterable[int]) -> Strip:
        """The strip of one source, whose rows are at these places."""
        cards = self.of(places)
        return Strip(self._sources[cards[0].source], cards[0].label, cards)

    def details(self) -> dict[str, Any]:
        """The data behind a click: rows, commands and sources."""
        return {
            "sources": {name: one.detail for name, one in self._sources.items()},
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
        """The command that makes the image again; empty if there is no image."""
        if row["output_shard"] is None:
            return ""
        output = storage.public_url(self._output)
        return shlex.join(["diffaug", "replay", output, row["sample_id"]])


def _source(row: Row, recipe: Recipe, side: int) -> Embedded | Written:
    """The source of a row; a defective source has none."""
    if row["status"] == "failed":
        return Embedded(why="no text" if recipe.medium == "text" else "no picture")
    return embed(partial(source_picture, row, recipe), side)


def _shown(value: object) -> str:
    return "" if value is None else str(value)

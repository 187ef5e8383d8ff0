"""`diffaug models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffaug.cli.app import OK, app, out
from diffaug.cli.steps import advise

if TYPE_CHECKING:
    from diffaug.models.card import Card

__all__ = ["models"]


@app.command
def models() -> int:
    """List the models that come with diffaug, and public ones by family.

    Any local diffusers folder or hub name of these families works too.
    """
    from diffaug.models.card import known_cards, shipped_cards

    out.print(_shipped(shipped_cards()))
    out.print(
        "\nKnown public models, named as --model takes them, described as their publishers do."
        "\nNot run here: diffaug's authors have not tried it; suggestions are a starting point."
    )
    for card in known_cards():
        out.print(_known(card))
    advise("next: diffaug try FOLDER --model MODEL")
    return OK


def _shipped(cards: list[Card]) -> str:
    """A line per model, however wide: a table that fits a terminal would break their names."""
    from diffaug.models import find_checkpoint

    rows = [("model", "size", "licence", "classes", "digest", "suggested")]
    for card in cards:
        digest, classes = find_checkpoint(card.name).digest[:12], str(card.class_count)
        rows.append((card.name, card.size, card.licence, classes, digest, _suggestion(card)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _known(card: Card) -> str:
    """Several lines per model: hub names and revisions are too long for columns."""
    facts = [card.family, card.size, card.licence]
    facts += [f"{card.class_count} classes"] if card.class_count else []
    facts += ["gated"] if card.gated else []
    facts += [] if card.revision else ["not pinned"]
    facts += ["run here" if card.run_here else "not run here"]
    lines = [", ".join(facts), _suggestion(card), *([card.note] if card.note else [])]
    name = f"{card.name}@{card.revision}" if card.revision else card.name
    return "\n    ".join([f"\n{name}", *lines])


def _suggestion(card: Card) -> str:
    return " ".join(f"{name}={value}" for name, value in card.suggested.items())

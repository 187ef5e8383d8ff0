"""`diffaug models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Column, Table

from diffaug.cli.app import OK, app, out

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
        "\nKnown public models, as --model takes them and as their publishers' cards describe them."
        "\nNot run here: diffaug's authors have not tried it; suggestions are where to begin."
    )
    for card in known_cards():
        out.print(_known(card), markup=False)
    return OK


def _shipped(cards: list[Card]) -> Table:
    from diffaug.models import find_checkpoint

    columns = ("model", "size", "licence", "classes", "suggested", "digest")
    table = Table(*(Column(name, overflow="fold") for name in columns), box=None)
    for card in cards:
        digest = find_checkpoint(card.name).digest[:12]
        suggested = _suggestion(card)
        classes = str(card.class_count)
        table.add_row(card.name, card.size, card.licence, classes, suggested, digest)
    return table


def _known(card: Card) -> str:
    """Some lines: hub names and revisions are too long for columns."""
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

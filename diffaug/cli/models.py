"""`diffaug models`."""

from __future__ import annotations

from rich.table import Table

from diffaug.cli.app import OK, app, out

__all__ = ["models"]


@app.command
def models() -> int:
    """List the models that come with diffaug; any local diffusers folder or hub name works too."""
    from diffaug.models import find_checkpoint, shipped_cards

    table = Table("model", "size", "licence", "classes", "suggested", "digest", box=None)
    for card in shipped_cards():
        suggested = " ".join(f"{name}={value}" for name, value in card.suggested.items())
        digest = find_checkpoint(card.name).digest[:12]
        table.add_row(card.name, card.size, card.licence, str(len(card.classes)), suggested, digest)
    out.print(table)
    return OK
